#include "kernels/adamw.h"

#include <cmath>
#include <limits>

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
      const AdamWOptions options{.learning_rate = 0.01F, .weight_decay = 0.1F, .step = step};
      const Operand grad = Operand::random({n}, 10 + static_cast<std::uint64_t>(step));
      const Operand scale = Operand::of({0.25F});
      adamw_step(param, m, v, grad, scale, options, test_stream());
      reference::adamw_step(expected, expected_m, expected_v, grad.doubles(), 0.25, options);
      grad.expect_guards("grad");
    }
    param.expect_near(expected, 1e-6, "param");
    m.expect_near(expected_m, 1e-6, "m");
    v.expect_near(expected_v, 1e-6, "v");
  }
}

TEST(AdamW, LateStepsHaveNoBias) {
  const AdamWOptions options{.learning_rate = 1.0F, .epsilon = 0.0F, .step = 100000000};
  const Operand param = Operand::of({0.0F});
  const Operand m = Operand::of({0.5F});
  const Operand v = Operand::of({4.0F});
  adamw_step(param, m, v, Operand::of({0.5F}), Operand::of({1.0F}), options, test_stream());
  EXPECT_NEAR(param.floats()[0], -0.5 / std::sqrt(0.95 * 4.0 + 0.05 * 0.25), 1e-6);
}

TEST(AdamW, NanAndInfAreSeen) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Operand grad = Operand::random({50}, 1);
    grad.set(17, bad);
    const Operand param = Operand::random({50}, 2);
    const Operand m = Operand::zeros({50});
    const Operand v = Operand::zeros({50});
    adamw_step(param, m, v, grad, Operand::of({1.0F}), {.learning_rate = 0.1F}, test_stream());
    for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(param.floats()[i]), i == 17) << i;
  }
}

TEST(AdamWDeathTest, LengthsDiffer) {
  const Operand x = Operand::zeros({5});
  const Operand y = Operand::zeros({4});
  EXPECT_DEATH(adamw_step(x, x, x, y, Operand::of({1.0F}), {}, test_stream()),
               "adamw_step: grad is \\[4\\], \\[5\\] expected");
}

}  // namespace
}  // namespace trireme
