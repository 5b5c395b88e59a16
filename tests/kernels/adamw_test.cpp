#include "kernels/adamw.h"

#include <cmath>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/adamw.h"

namespace trireme {
namespace {

TEST(AdamW, SeveralSteps) {
  for (const std::int64_t n : {1, 5, 64, 1003, 40001}) {
    const Operand param = Operand::random({n}, 1);
    const Operand m = Operand::zeros({n});
    const Operand v = Operand::zeros({n});
    reference::Array expected = param.doubles();
    reference::Array expected_m = m.doubles();
    reference::Array expected_v = v.doubles();
    for (std::int64_t step = 1; step <= 4; ++step) {
      const AdamWOptions options{.learning_rate = 0.01F, .weight_decay = 0.1F};
      const Operand grad = Operand::random({n}, 10 + static_cast<std::uint64_t>(step));
      const Operand factors = Operand::of(reference::adamw_factors(0.25, options, step));
      adamw_step(param, {}, m, v, grad, factors, options, test_stream());
      reference::adamw_step(expected, expected_m, expected_v, grad.doubles(), 0.25, options, step);
      grad.expect_guards("grad");
    }
    param.expect_near(expected, 1e-6, "param");
    m.expect_near(expected_m, 1e-6, "m");
    v.expect_near(expected_v, 1e-6, "v");
  }
}

TEST(AdamW, RoundsWhatItChanges) {
  for (const std::int64_t n : {1, 5, 64, 1003, 40001}) {
    SCOPED_TRACE(n);
    const Operand param = Operand::random({n}, 1), alone = Operand::random({n}, 1);
    const Operand m = Operand::zeros({n}), v = Operand::zeros({n});
    const Operand m_alone = Operand::zeros({n}), v_alone = Operand::zeros({n});
    const Operand rounded = Operand::poisoned({n}, {}, DType::kBfloat16);
    const Operand grad = Operand::random({n}, 2);
    const AdamWOptions options{.learning_rate = 0.01F, .weight_decay = 0.1F};
    const Operand factors = Operand::of(reference::adamw_factors(0.25, options, 1));
    adamw_step(param, rounded, m, v, grad, factors, options, test_stream());
    adamw_step(alone, {}, m_alone, v_alone, grad, factors, options, test_stream());
    EXPECT_EQ(param.floats(), alone.floats());
    std::vector<float> expected = param.floats();
    for (float& x : expected) x = static_cast<float>(Bfloat16(x));
    EXPECT_EQ(rounded.floats(), expected);
    rounded.expect_guards("rounded");

    // A step that changes nothing.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Operand skip = Operand::of({nan, nan, nan});
    const Operand untouched = Operand::random({n}, 3, 1.0, {}, DType::kBfloat16);
    const std::vector<float> before = untouched.floats();
    adamw_step(param, untouched, m, v, grad, skip, options, test_stream());
    EXPECT_EQ(untouched.floats(), before);
  }
}

TEST(AdamW, LateStepsHaveNoBias) {
  const AdamWOptions options{.learning_rate = 1.0F, .epsilon = 0.0F};
  const Operand param = Operand::of({0.0F});
  const Operand m = Operand::of({0.5F});
  const Operand v = Operand::of({4.0F});
  const Operand factors = Operand::of(reference::adamw_factors(1.0, options, 100000000));
  adamw_step(param, {}, m, v, Operand::of({0.5F}), factors, options, test_stream());
  EXPECT_NEAR(param.floats()[0], -0.5 / std::sqrt(0.95 * 4.0 + 0.05 * 0.25), 1e-6);
}

TEST(AdamW, NanAndInfAreSeen) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Operand grad = Operand::random({50}, 1);
    grad.set(17, bad);
    const Operand param = Operand::random({50}, 2);
    const Operand m = Operand::zeros({50});
    const Operand v = Operand::zeros({50});
    const AdamWOptions options{.learning_rate = 0.1F};
    const Operand factors = Operand::of(reference::adamw_factors(1.0, options, 1));
    adamw_step(param, {}, m, v, grad, factors, options, test_stream());
    for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(param.floats()[i]), i == 17) << i;
  }
}

// What begin_update says of one step after another, whose squared norm and loss these are.
struct Decisions {
  Operand factors = Operand::zeros({kNumAdamWFactors});
  Operand counts = Operand::of(reference::Tokens(kNumUpdateCounts, 0), {kNumUpdateCounts});
  Operand norm = Operand::zeros({1});

  void decide(float squared_norm, float loss, float max_norm, std::int64_t step,
              const AdamWOptions& options) {
    begin_update(factors, counts, norm, Operand::of({squared_norm}), Operand::of({loss}), max_norm, step,
                 options, test_stream());
  }
};

TEST(AdamW, DecidesAboutEachStep) {
  const AdamWOptions options{.learning_rate = 0.01F, .beta1 = 0.8F, .beta2 = 0.9F};
  Decisions decisions;
  decisions.decide(16.0F, 1.0F, /*max_norm=*/2.0F, /*step=*/7, options);
  decisions.factors.expect_near(
      [&] {
        const auto factors = reference::adamw_factors(0.5, options, 1);
        return reference::Array(factors.begin(), factors.end());
      }(),
      1e-7, "factors");
  EXPECT_EQ(decisions.norm.floats()[0], 4.0F);
  decisions.decide(16.0F, 1.0F, /*max_norm=*/8.0F, /*step=*/8, options);
  EXPECT_EQ(decisions.factors.floats()[kGradientScale], 1.0F);
  decisions.decide(16.0F, 1.0F, /*max_norm=*/0.0F, /*step=*/9, options);
  EXPECT_EQ(decisions.factors.floats(), reference::adamw_factors(1.0, options, 3));
  EXPECT_EQ(decisions.counts.tokens(), (reference::Tokens{3, 0, 0}));
}

TEST(AdamW, StepsThatAreNotFiniteChangeNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const AdamWOptions options{.learning_rate = 0.1F, .weight_decay = 0.1F};
  Decisions decisions;
  std::int32_t step = 0;
  for (const auto& [squared_norm, loss] : {std::pair{nan, 1.0F}, {inf, 1.0F}, {1.0F, nan}, {1.0F, inf}}) {
    decisions.decide(squared_norm, loss, 1.0F, ++step, options);
    const Operand param = Operand::random({50}, 2), m = Operand::random({50}, 3),
                  v = Operand::random({50}, 4);
    const auto before = param.floats();
    adamw_step(param, {}, m, v, Operand::random({50}, 1), decisions.factors, options, test_stream());
    EXPECT_EQ(param.floats(), before);
    EXPECT_EQ(m.floats(), Operand::random({50}, 3).floats());
    EXPECT_EQ(v.floats(), Operand::random({50}, 4).floats());
  }
  EXPECT_EQ(decisions.counts.tokens(), (reference::Tokens{0, 4, 4}));
}

TEST(AdamWDeathTest, LengthsDiffer) {
  const Operand x = Operand::zeros({5});
  const Operand y = Operand::zeros({4});
  EXPECT_DEATH(adamw_step(x, {}, x, x, y, Operand::of({1.0F, 1.0F, 1.0F}), {}, test_stream()),
               "adamw_step: grad is \\[4\\], \\[5\\] expected");
}

}  // namespace
}  // namespace trireme
