// Activations, plain and gated.
#include "kernels/activation.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/gated_activation.h"
#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"

namespace trireme {
namespace {

class ActivationTest : public testing::TestWithParam<Activation> {};

TEST_P(ActivationTest, ForwardAndBackward) {
  for (const std::int64_t n : {1, 7, 64, 10007}) {
    const Operand x = Operand::random({n}, 1, 3.0);
    const Operand dy = Operand::random({n}, 2);
    const Operand y = Operand::poisoned({n});
    const Operand dx = Operand::poisoned({n});
    activation_forward(y, x, GetParam(), test_stream());
    activation_backward(dx, dy, x, GetParam(), test_stream());
    reference::Array expected = x.doubles();
    reference::Array gradient = dy.doubles();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      gradient[i] *= reference::activation_derivative(GetParam(), expected[i]);
      expected[i] = reference::activation(GetParam(), expected[i]);
    }
    y.expect_near(expected, 1e-6, "y");
    dx.expect_near(gradient, 2e-6, "dx");
  }
}

TEST_P(ActivationTest, FarFromZeroAndNotANumber) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const Operand x = Operand::of({-1e4F, -90.0F, -12.0F, -5.0F, 0.0F, 5.0F, 12.0F, 90.0F, 1e4F, kNan});
  const Operand y = Operand::poisoned({10});
  activation_forward(y, x, GetParam(), test_stream());
  for (std::size_t i = 0; i < 9; ++i) {
    const double in = x.doubles()[i];
    EXPECT_NEAR(y.doubles()[i], reference::activation(GetParam(), in), 2e-6 * std::abs(in)) << in;
  }
  EXPECT_TRUE(std::isnan(y.floats()[9]));
}

// The left tail has no absolute error to hide behind.
TEST(Gelu, KeepsItsDigitsInTheLeftTail) {
  const Operand x = Operand::of({-1.0F, -2.0F, -3.0F, -4.0F, -5.0F});
  const Operand y = Operand::poisoned({5});
  activation_forward(y, x, Activation::kGelu, test_stream());
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(y.doubles()[i] / reference::activation(Activation::kGelu, x.doubles()[i]), 1.0, 3e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(, ActivationTest,
                         testing::Values(Activation::kGeluTanh, Activation::kGelu, Activation::kRelu,
                                         Activation::kSilu));

TEST(GatedActivation, NoRows) {
  const Operand y = Operand::poisoned({0, 9}), x = Operand::poisoned({0, 18});
  gated_activation_forward(y, x, Activation::kSilu, test_stream());
  gated_activation_backward(x, y, x, Activation::kSilu, test_stream());
  x.expect_guards("x");
}

TEST(GatedActivation, ForwardAndBackward) {
  for (const Activation gate : {Activation::kSilu, Activation::kGelu}) {
    for (const auto& [n, f] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 7}, {33, 130}}) {
      const Operand x = Operand::random({n, 2 * f}, 1, 2.0);
      const Operand dy = Operand::random({n, f}, 2);
      const Operand y = Operand::poisoned({n, f});
      const Operand dx = Operand::poisoned({n, 2 * f});
      gated_activation_forward(y, x, gate, test_stream());
      gated_activation_backward(dx, dy, x, gate, test_stream());
      reference::Array expected = reference::zeros(n * f);
      reference::Array gradient = reference::zeros(n * 2 * f);
      const reference::Array in = x.doubles(), d = dy.doubles();
      for (std::int64_t i = 0; i < n * f; ++i) {
        const std::int64_t g = i / f * 2 * f + i % f;
        reference::at(expected, i) =
            reference::activation(gate, reference::at(in, g)) * reference::at(in, g + f);
        reference::at(gradient, g) = reference::at(d, i) * reference::at(in, g + f) *
                                     reference::activation_derivative(gate, reference::at(in, g));
        reference::at(gradient, g + f) =
            reference::at(d, i) * reference::activation(gate, reference::at(in, g));
      }
      y.expect_near(expected, 2e-6, "y");
      dx.expect_near(gradient, 5e-6, "dx");
      gated_activation_backward(x, dy, x, gate, test_stream());
      x.expect_near(gradient, 5e-6, "dx in place");
    }
  }
}

}  // namespace
}  // namespace trireme
