#include "kernels/adamw.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "tests/kernels/operand.h"
#include "tests/reference/adamw.h"

namespace trireme {
namespace {

using reference::AdamWUpdate;

AdamWTable whole(std::int64_t n, float weight_decay = 0.0F) {
  return AdamWTable({{.begin = 0, .end = n, .weight_decay = weight_decay}}, test_device());
}

TEST(AdamW, SeveralSteps) {
  for (const std::int64_t n : {1, 5, 64, 1003, 40001}) {
    const Operand param = Operand::random({n}, 1);
    const Operand m = Operand::zeros({n});
    const Operand v = Operand::zeros({n});
    reference::Array expected = param.doubles();
    reference::Array expected_m = m.doubles();
    reference::Array expected_v = v.doubles();
    AdamWUpdate update{.learning_rate = 0.01F, .weight_decay = 0.1F, .gradient_scale = 0.25};
    const AdamWTable table = whole(n, update.weight_decay);
    for (update.step = 1; update.step <= 4; ++update.step) {
      const Operand grad = Operand::random({n}, 10 + static_cast<std::uint64_t>(update.step));
      const Operand factors = Operand::of(reference::adamw_factors(update));
      adamw_step(param, {}, m, v, grad, factors, table, update.options, test_stream());
      reference::adamw_step(expected, expected_m, expected_v, grad.doubles(), update);
      grad.expect_guards("grad");
    }
    param.expect_near(expected, 1e-6, "param");
    m.expect_near(expected_m, 1e-6, "m");
    v.expect_near(expected_v, 1e-6, "v");
  }
}

// Of odd lengths and from odd places on; some side by side, and holes between others.
std::vector<AdamWStretch> odd_stretches() {
  std::vector<AdamWStretch> stretches;
  std::int64_t begin = 3, i = 0;
  for (const std::int64_t size : {1, 2, 3, 4, 5, 16, 0, 33, 255, 768, 4093, 7, 4096, 9001, 1, 12288, 130}) {
    const float weight_decay = 0.25F * static_cast<float>(i % 3);
    stretches.push_back({.begin = begin, .end = begin + size, .weight_decay = weight_decay});
    begin += size + (i % 4 == 0 ? 0 : 5 * i - 4);
    ++i;
  }
  return stretches;
}

// One step, of flat memory from the element `first` of what operands have: 0 is at a multiple of 16 bytes.
void expect_update_of_stretches(std::int64_t first) {
  SCOPED_TRACE(first);
  const std::vector<AdamWStretch> stretches = odd_stretches();
  const std::int64_t n = first + stretches.back().end + 10;
  const Operand param = Operand::random({n}, 1), m = Operand::random({n}, 2, 0.1);
  const Operand rounded = Operand::random({n}, 3, 1.0, {}, DType::kBfloat16);
  Operand v = Operand::random({n}, 4, 0.1), grad = Operand::poisoned({n});
  const std::vector<float> numbers = Operand::random({n}, 5).floats(), roots = v.floats();
  AdamWUpdate update{.learning_rate = 0.01F, .gradient_scale = 0.5, .step = 3};

  std::vector<bool> is_hole(static_cast<std::size_t>(n), true);
  reference::Array expected = param.doubles(), expected_m = m.doubles(), expected_v = v.doubles();
  for (const auto& [begin, end, weight_decay] : stretches) {
    update.weight_decay = weight_decay;
    for (std::int64_t i = first + begin; i < first + end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      grad.set(i, numbers[at]);
      v.set(i, roots[at] * roots[at]);
      is_hole[at] = false;
      reference::Array x = {expected[at]}, x_m = {expected_m[at]}, x_v = {double{roots[at] * roots[at]}};
      reference::adamw_step(x, x_m, x_v, {numbers[at]}, update);
      expected[at] = x[0], expected_m[at] = x_m[0], expected_v[at] = x_v[0];
    }
  }
  const std::array memory = {param, m, v, rounded};
  std::array<std::vector<float>, memory.size()> before;
  for (std::size_t k = 0; k < memory.size(); ++k) before[k] = memory[k].floats();

  const auto flat = [&](const Operand& x) { return x.tensor().slice(0, first, n); };
  adamw_step(flat(param), flat(rounded), flat(m), flat(v), flat(grad),
             Operand::of(reference::adamw_factors(update)), AdamWTable(stretches, test_device()),
             update.options, test_stream());
  param.expect_near(expected, 1e-6, "param");
  m.expect_near(expected_m, 1e-6, "m");
  v.expect_near(expected_v, 1e-6, "v");
  rounded.expect_guards("rounded");
  const std::array after = {param.floats(), m.floats(), v.floats(), rounded.floats()};
  for (std::size_t i = 0; i < is_hole.size(); ++i) {
    if (is_hole[i]) {
      for (std::size_t k = 0; k < after.size(); ++k) ASSERT_EQ(after[k][i], before[k][i]) << k << ", " << i;
    } else {
      ASSERT_EQ(after[3][i], static_cast<float>(Bfloat16(after[0][i]))) << i;
    }
  }
}

TEST(AdamW, StretchesAreUpdatedAndHolesAreNot) {
  for (const std::int64_t first : {0, 1, 4, 6}) expect_update_of_stretches(first);
}

TEST(AdamW, CutsStretchesIntoPieces) {
  const AdamWTable table(
      {{.begin = 5, .end = 5}, {.begin = 4090, .end = 4096 + 1}, {.begin = 9000, .end = 20000}}, Device{});
  std::vector<std::array<std::int64_t, 2>> found;
  for (std::int64_t i = 0; i < table.num_pieces(); ++i) {
    const AdamWTable::Piece& piece = table.pieces()[i];
    found.push_back({piece.begin, piece.begin + piece.size});
  }
  EXPECT_EQ(found, (std::vector<std::array<std::int64_t, 2>>{
                       {4090, 4096}, {4096, 4097}, {9000, 12288}, {12288, 16384}, {16384, 20000}}));
  EXPECT_EQ(table.end(), 20000);
}

TEST(AdamW, RoundsWhatItChanges) {
  for (const std::int64_t n : {1, 5, 64, 1003, 40001}) {
    SCOPED_TRACE(n);
    const Operand param = Operand::random({n}, 1), alone = Operand::random({n}, 1);
    const Operand m = Operand::zeros({n}), v = Operand::zeros({n});
    const Operand m_alone = Operand::zeros({n}), v_alone = Operand::zeros({n});
    const Operand rounded = Operand::poisoned({n}, {}, DType::kBfloat16);
    const Operand grad = Operand::random({n}, 2);
    const AdamWUpdate update{.learning_rate = 0.01F, .weight_decay = 0.1F, .gradient_scale = 0.25};
    const AdamWTable table = whole(n, update.weight_decay);
    const Operand factors = Operand::of(reference::adamw_factors(update));
    adamw_step(param, rounded, m, v, grad, factors, table, update.options, test_stream());
    adamw_step(alone, {}, m_alone, v_alone, grad, factors, table, update.options, test_stream());
    EXPECT_EQ(param.floats(), alone.floats());
    std::vector<float> expected = param.floats();
    for (float& x : expected) x = static_cast<float>(Bfloat16(x));
    EXPECT_EQ(rounded.floats(), expected);
    rounded.expect_guards("rounded");

    // A step that changes nothing.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Operand skip = Operand::of({update.learning_rate, nan, nan, nan});
    const Operand untouched = Operand::random({n}, 3, 1.0, {}, DType::kBfloat16);
    const std::vector<float> before = untouched.floats();
    adamw_step(param, untouched, m, v, grad, skip, table, update.options, test_stream());
    EXPECT_EQ(untouched.floats(), before);
  }
}

TEST(AdamW, LateStepsHaveNoBias) {
  const AdamWUpdate update{.learning_rate = 1.0F, .step = 100000000, .options = {.epsilon = 0.0F}};
  const Operand param = Operand::of({0.0F});
  const Operand m = Operand::of({0.5F});
  const Operand v = Operand::of({4.0F});
  const Operand factors = Operand::of(reference::adamw_factors(update));
  adamw_step(param, {}, m, v, Operand::of({0.5F}), factors, whole(1), update.options, test_stream());
  EXPECT_NEAR(param.floats()[0], -0.5 / std::sqrt(0.95 * 4.0 + 0.05 * 0.25), 1e-6);
}

TEST(AdamW, NanAndInfAreSeen) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Operand grad = Operand::random({50}, 1);
    grad.set(17, bad);
    const Operand param = Operand::random({50}, 2);
    const Operand m = Operand::zeros({50});
    const Operand v = Operand::zeros({50});
    const Operand factors = Operand::of(reference::adamw_factors({.learning_rate = 0.1F}));
    adamw_step(param, {}, m, v, grad, factors, whole(50), {}, test_stream());
    for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(param.floats()[i]), i == 17) << i;
  }
}

// What begin_update says of one step after another, whose squared norm and loss these are.
struct Decisions {
  Operand factors = Operand::zeros({kNumAdamWFactors});
  Operand counts = Operand::of(reference::Tokens(kNumUpdateCounts, 0), {kNumUpdateCounts});
  Operand norm = Operand::zeros({1});

  void decide(float squared_norm, float loss, float max_norm, float learning_rate,
              const AdamWOptions& options) {
    fill(factors.tensor().slice(0, kLearningRate, kLearningRate + 1), learning_rate, test_stream());
    begin_update(factors, counts, norm, Operand::of({squared_norm}), Operand::of({loss}), max_norm, options,
                 test_stream());
  }
};

TEST(AdamW, DecidesAboutEachStep) {
  AdamWUpdate update{
      .learning_rate = 0.01F, .gradient_scale = 0.5, .options = {.beta1 = 0.8F, .beta2 = 0.9F}};
  Decisions decisions;
  decisions.decide(16.0F, 1.0F, /*max_norm=*/2.0F, update.learning_rate, update.options);
  decisions.factors.expect_near(
      [&] {
        const auto factors = reference::adamw_factors(update);
        return reference::Array(factors.begin(), factors.end());
      }(),
      1e-7, "factors");
  EXPECT_EQ(decisions.norm.floats()[0], 4.0F);
  decisions.decide(16.0F, 1.0F, /*max_norm=*/8.0F, update.learning_rate, update.options);
  EXPECT_EQ(decisions.factors.floats()[kGradientScale], 1.0F);
  update = {.learning_rate = 0.02F, .step = 3, .options = update.options};
  decisions.decide(16.0F, 1.0F, /*max_norm=*/0.0F, update.learning_rate, update.options);
  EXPECT_EQ(decisions.factors.floats(), reference::adamw_factors(update));
  EXPECT_EQ(decisions.counts.tokens(), (reference::Tokens{3, 0, 0}));
}

TEST(AdamW, StepsThatAreNotFiniteChangeNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const AdamWTable table = whole(50, 0.1F);
  Decisions decisions;
  decisions.decide(1.0F, 1.0F, 1.0F, 0.1F, {});
  std::int32_t step = 0;
  for (const auto& [squared_norm, loss] : {std::pair{nan, 1.0F}, {inf, 1.0F}, {1.0F, nan}, {1.0F, inf}}) {
    decisions.decide(squared_norm, loss, 1.0F, 0.1F, {});
    const Operand param = Operand::random({50}, 2), m = Operand::random({50}, 3),
                  v = Operand::random({50}, 4);
    const auto before = param.floats();
    adamw_step(param, {}, m, v, Operand::random({50}, 1), decisions.factors, table, {}, test_stream());
    EXPECT_EQ(param.floats(), before);
    EXPECT_EQ(m.floats(), Operand::random({50}, 3).floats());
    EXPECT_EQ(v.floats(), Operand::random({50}, 4).floats());
    ++step;
    EXPECT_EQ(decisions.counts.tokens(), (reference::Tokens{1, step, step}));
  }
  decisions.decide(1.0F, 1.0F, 1.0F, 0.1F, {});
  EXPECT_EQ(decisions.counts.tokens(), (reference::Tokens{2, 4, 4}));
}

TEST(AdamWDeathTest, LengthsDiffer) {
  const Operand x = Operand::zeros({5}), y = Operand::zeros({4});
  const Operand factors = Operand::zeros({kNumAdamWFactors});
  EXPECT_DEATH(adamw_step(x, {}, x, x, y, factors, whole(4), {}, test_stream()),
               "adamw_step: grad is \\[4\\], \\[5\\] expected");
  EXPECT_DEATH(adamw_step(x, {}, x, x, x, factors, whole(6), {}, test_stream()),
               "adamw_step: the table goes on behind param");
}

TEST(AdamWDeathTest, StretchesOverlap) {
  EXPECT_DEATH(AdamWTable({{.begin = 0, .end = 8}, {.begin = 7, .end = 9}}, test_device()),
               "AdamWTable: \\[7, 9\\) after 8");
}

}  // namespace
}  // namespace trireme
