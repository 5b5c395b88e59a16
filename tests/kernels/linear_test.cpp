#include "kernels/linear.h"

#include <cmath>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"
#include "tests/reference/linear.h"

namespace trireme {
namespace {

constexpr double kTolerance = 1e-5;

struct Case {
  std::int64_t n, i, o;
  bool bias;
  std::int64_t padding;  // elements between rows of x, y and their gradients

  Shape wide(std::int64_t rows, std::int64_t columns) const { return {rows, columns + padding}; }
};

constexpr Case kCases[] = {{1, 1, 1, true, 0},    {1, 17, 33, true, 0},   {5, 3, 7, false, 2},
                           {33, 31, 70, true, 0}, {65, 40, 129, true, 9}, {100, 64, 64, false, 0}};

constexpr Activation kActivations[] = {Activation::kGeluTanh, Activation::kGelu, Activation::kRelu,
                                       Activation::kSilu};

TEST(Linear, Forward) {
  for (const Case& c : kCases) {
    const Operand x = Operand::random({c.n, c.i}, 1, 1.0, c.wide(c.n, c.i));
    const Operand w = Operand::random({c.o, c.i}, 2);
    const Operand bias = Operand::random({c.o}, 3);
    const Operand y = Operand::poisoned({c.n, c.o}, c.wide(c.n, c.o));
    linear_forward(y, x, w, c.bias ? bias.tensor() : Tensor(), test_stream());
    y.expect_near(reference::linear(x.doubles(), w.doubles(), c.bias ? bias.doubles() : reference::Array(),
                                    c.n, c.i, c.o),
                  kTolerance, "y");
  }
}

// Gradients that are added to hold something before.
reference::Array sum(const Operand& before, reference::Array gradient) {
  const reference::Array start = before.doubles();
  for (std::size_t e = 0; e < gradient.size(); ++e) gradient[e] += start[e];
  return gradient;
}

TEST(Linear, Backward) {
  for (const Case& c : kCases) {
    const Operand x = Operand::random({c.n, c.i}, 1, 1.0, c.wide(c.n, c.i));
    const Operand w = Operand::random({c.o, c.i}, 2);
    const Operand dy = Operand::random({c.n, c.o}, 4, 1.0, c.wide(c.n, c.o));
    const Operand dx = Operand::poisoned({c.n, c.i}, c.wide(c.n, c.i));
    const Operand dw = Operand::random({c.o, c.i}, 5);
    const Operand dbias = Operand::random({c.o}, 6);
    const auto expected = reference::linear_backward(dy.doubles(), x.doubles(), w.doubles(), c.n, c.i, c.o);
    const auto expected_dw = sum(dw, expected.dw);
    const auto expected_dbias = c.bias ? sum(dbias, expected.dbias) : dbias.doubles();
    linear_backward(c.padding == 9 ? Tensor() : dx.tensor(), dw, c.bias ? dbias.tensor() : Tensor(), dy, x, w,
                    test_stream());
    if (c.padding != 9) dx.expect_near(expected.dx, kTolerance, "dx");
    dw.expect_near(expected_dw, kTolerance, "dw");
    dbias.expect_near(expected_dbias, kTolerance, "dbias");
  }
}

// Operands of activations, whose rows may lie apart on the CPU alone.
Shape wide_if_allowed(const Case& c, std::int64_t rows, std::int64_t columns) {
  return test_device().is_cpu() ? c.wide(rows, columns) : Shape();
}

void check_activation_forward(const Case& c, Activation activation, bool in_place) {
  const Operand x = Operand::random({c.n, c.i}, 1);
  const Operand w = Operand::random({c.o, c.i}, 2, 1.0 / std::sqrt(static_cast<double>(c.i)));
  const Operand bias = Operand::random({c.o}, 3);
  const Operand pre = Operand::poisoned({c.n, c.o}, wide_if_allowed(c, c.n, c.o));
  const Operand y = Operand::poisoned({c.n, c.o}, wide_if_allowed(c, c.n, c.o));
  linear_activation_forward(in_place ? pre : y, pre, x, w, c.bias ? bias.tensor() : Tensor(), activation,
                            test_stream());
  reference::Array expected = reference::linear(x.doubles(), w.doubles(),
                                                c.bias ? bias.doubles() : reference::Array(), c.n, c.i, c.o);
  if (!in_place) pre.expect_near(expected, kTolerance, "preactivation");
  for (double& e : expected) e = reference::activation(activation, e);
  (in_place ? pre : y).expect_near(expected, kTolerance, "y");
}

TEST(Linear, ActivationForward) {
  for (const Case& c : kCases) {
    for (const Activation activation : kActivations) {
      for (const bool in_place : {false, true}) check_activation_forward(c, activation, in_place);
    }
  }
}

void check_backward_through(const Case& c, Activation activation) {
  const Operand x = Operand::random({c.n, c.i}, 1, 1.0, c.wide(c.n, c.i));
  const Operand w = Operand::random({c.o, c.i}, 2);
  const Operand pre = Operand::random({c.n, c.i}, 3, 2.0, wide_if_allowed(c, c.n, c.i));
  const Operand dy = Operand::random({c.n, c.o}, 4, 1.0, c.wide(c.n, c.o));
  const Operand dx = Operand::poisoned({c.n, c.i}, wide_if_allowed(c, c.n, c.i));
  const Operand dw = Operand::random({c.o, c.i}, 5);
  const Operand dbias = Operand::random({c.o}, 6);
  auto expected = reference::linear_backward(dy.doubles(), x.doubles(), w.doubles(), c.n, c.i, c.o);
  for (std::size_t e = 0; e < expected.dx.size(); ++e) {
    expected.dx[e] *= reference::activation_derivative(activation, pre.doubles()[e]);
  }
  const auto expected_dw = sum(dw, expected.dw);
  const auto expected_dbias = c.bias ? sum(dbias, expected.dbias) : dbias.doubles();
  linear_backward_through(dx, dw, c.bias ? dbias.tensor() : Tensor(), dy, x, w, pre, activation,
                          test_stream());
  dx.expect_near(expected.dx, kTolerance, "dx");
  dw.expect_near(expected_dw, kTolerance, "dw");
  dbias.expect_near(expected_dbias, kTolerance, "dbias");
}

TEST(Linear, BackwardThroughActivations) {
  for (const Case& c : kCases) {
    for (const Activation activation : kActivations) check_backward_through(c, activation);
  }
}

// The gradients in two calls, of which each does without what the other reads.
TEST(Linear, BackwardInHalves) {
  for (const Case& c : kCases) {
    for (const bool data_first : {true, false}) {
      SCOPED_TRACE(testing::Message() << c.n << " x " << c.i << " x " << c.o << " data first " << data_first);
      const Operand x = Operand::random({c.n, c.i}, 1, 1.0, c.wide(c.n, c.i));
      const Operand w = Operand::random({c.o, c.i}, 2);
      const Operand dy = Operand::random({c.n, c.o}, 4, 1.0, c.wide(c.n, c.o));
      const Operand dx = Operand::poisoned({c.n, c.i}), whole_dx = Operand::poisoned({c.n, c.i});
      const Operand dw = Operand::random({c.o, c.i}, 5), whole_dw = Operand::random({c.o, c.i}, 5);
      const Operand dbias = Operand::random({c.o}, 6), whole_dbias = Operand::random({c.o}, 6);
      const auto bias_of = [&](const Operand& bias) { return c.bias ? bias.tensor() : Tensor(); };
      linear_backward(whole_dx, whole_dw, bias_of(whole_dbias), dy, x, w, test_stream());
      const Operand no_x = Operand::poisoned({c.n, c.i}), no_w = Operand::poisoned({c.o, c.i});
      for (const bool data : {data_first, !data_first}) {
        if (data) {
          linear_backward(dx, {}, {}, dy, no_x, w, test_stream());
        } else {
          linear_backward({}, dw, bias_of(dbias), dy, x, no_w, test_stream());
        }
      }
      dx.expect_near(whole_dx.doubles(), 0.0, "dx");
      dw.expect_near(whole_dw.doubles(), 0.0, "dw");
      dbias.expect_near(whole_dbias.doubles(), 0.0, "dbias");
    }
  }
}

TEST(Linear, BackwardThroughActivationsInHalves) {
  for (const Case& c : kCases) {
    const Operand x = Operand::random({c.n, c.i}, 1), w = Operand::random({c.o, c.i}, 2);
    const Operand pre = Operand::random({c.n, c.i}, 3, 2.0);
    const Operand dy = Operand::random({c.n, c.o}, 4);
    const Operand dx = Operand::poisoned({c.n, c.i}), whole_dx = Operand::poisoned({c.n, c.i});
    const Operand dw = Operand::random({c.o, c.i}, 5), whole_dw = Operand::random({c.o, c.i}, 5);
    const Operand dbias = Operand::random({c.o}, 6), whole_dbias = Operand::random({c.o}, 6);
    linear_backward_through(whole_dx, whole_dw, whole_dbias, dy, x, w, pre, Activation::kSilu, test_stream());
    const Operand no_x = Operand::poisoned({c.n, c.i}), no_w = Operand::poisoned({c.o, c.i});
    linear_backward_through(dx, {}, {}, dy, no_x, w, pre, Activation::kSilu, test_stream());
    linear_backward_through({}, dw, dbias, dy, x, no_w, pre, Activation::kSilu, test_stream());
    dx.expect_near(whole_dx.doubles(), 0.0, "dx");
    dw.expect_near(whole_dw.doubles(), 0.0, "dw");
    dbias.expect_near(whole_dbias.doubles(), 0.0, "dbias");
  }
}

// A rank may have no rows, and of a vocabulary no tokens.
TEST(Linear, NoRowsAndNoOutputs) {
  for (const auto& [n, o] : {std::pair{0, 6}, std::pair{5, 0}}) {
    SCOPED_TRACE(testing::Message() << n << " rows, " << o << " outputs");
    const Operand x = Operand::random({n, 4}, 1), w = Operand::random({o, 4}, 2),
                  y = Operand::poisoned({n, o});
    const Operand bias = Operand::random({o}, 3), dbias = Operand::random({o}, 4);
    const Operand dw = Operand::random({o, 4}, 5), dx = Operand::poisoned({n, 4});
    const reference::Array dw_before = dw.doubles(), dbias_before = dbias.doubles();
    linear_forward(y, x, w, bias, test_stream());
    linear_backward(dx, dw, dbias, y, x, w, test_stream());
    for (const Activation activation : {Activation::kGeluTanh, Activation::kSilu}) {
      const Operand pre = Operand::poisoned({n, o}), pre_of_x = Operand::random({n, 4}, 6);
      linear_activation_forward(y, pre, x, w, bias, activation, test_stream());
      linear_backward_through(dx, dw, dbias, y, x, w, pre_of_x, activation, test_stream());
    }
    dx.expect_near(reference::zeros(n * 4), 0.0, "dx");
    dw.expect_near(dw_before, 0.0, "dw");
    dbias.expect_near(dbias_before, 0.0, "dbias");
    y.expect_guards("y");
  }
}

// The activation and its derivative over the whole line, by a layer of one input with weight 1.
TEST(Linear, ActivationsAreAccurateEverywhere) {
  std::vector<float> points = {0.0F, -0.0F, 1e-30F, -1e-30F, 1e-6F, 3e4F, -3e4F, 1e12F, -1e12F};
  for (float x = -15.0F; x < 15.0F; x += 0.00317F) points.push_back(x);
  const Operand x = Operand::of(points);
  const Shape column = {std::ssize(points), 1};
  const Operand w = Operand::of({1.0F});
  for (const Activation activation : kActivations) {
    SCOPED_TRACE(static_cast<int>(activation));
    const Operand pre = Operand::poisoned(column);
    const Operand y = Operand::poisoned(column);
    linear_activation_forward(y, pre, x.tensor().view(column), w.tensor().view({1, 1}), {}, activation,
                              test_stream());
    const Operand dy = Operand::of(std::vector<float>(points.size(), 1.0F));
    const Operand dx = Operand::poisoned(column);
    linear_backward_through(dx, {}, {}, dy.tensor().view(column), y, w.tensor().view({1, 1}),
                            x.tensor().view(column), activation, test_stream());
    const std::vector<float> values = y.floats();
    const std::vector<float> derivatives = dx.floats();
    for (std::size_t i = 0; i < points.size(); ++i) {
      const double p = points[i];
      EXPECT_NEAR(values[i], reference::activation(activation, p), 5e-7 * std::abs(p)) << p;
      EXPECT_NEAR(derivatives[i],
                  std::abs(p) > 100 ? (p > 0) : reference::activation_derivative(activation, p), 1e-6)
          << p;
    }
  }
}

TEST(Linear, NanIsSeen) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Operand x = Operand::of({1.0F, nan});
  const Operand w = Operand::of({1.0F});
  for (const Activation activation : kActivations) {
    const Operand y = Operand::zeros({2, 1});
    const Operand pre = Operand::zeros({2, 1});
    linear_activation_forward(y, pre, x.tensor().view({2, 1}), w.tensor().view({1, 1}), {}, activation,
                              test_stream());
    EXPECT_FALSE(std::isnan(y.floats()[0]));
    EXPECT_TRUE(std::isnan(y.floats()[1]));
    const Operand dy = Operand::of({1.0F, nan});
    const Operand dx = Operand::poisoned({2, 1});
    const Operand dw = Operand::zeros({1, 1});
    const Operand dbias = Operand::zeros({1});
    linear_backward_through(dx, dw, dbias, dy.tensor().view({2, 1}), x.tensor().view({2, 1}),
                            w.tensor().view({1, 1}), x.tensor().view({2, 1}), activation, test_stream());
    EXPECT_FALSE(std::isnan(dx.floats()[0]));
    EXPECT_TRUE(std::isnan(dx.floats()[1]));
    EXPECT_TRUE(std::isnan(dw.floats()[0]));
    EXPECT_TRUE(std::isnan(dbias.floats()[0]));
  }
}

TEST(Linear, BiasGradientIsTheSameForAnyThreads) {
  const Operand x = Operand::random({1000, 3}, 1);
  const Operand w = Operand::random({700, 3}, 2);
  const Operand dy = Operand::random({1000, 700}, 4);
  expect_same_for_any_threads([&] {
    const Operand dw = Operand::zeros({700, 3});
    const Operand dbias = Operand::zeros({700});
    linear_backward({}, dw, dbias, dy, x, w, test_stream());
    return dbias.floats();
  });
}

TEST(LinearDeathTest, WrongShapes) {
  const Operand y = Operand::poisoned({3, 5});
  const Operand x = Operand::random({3, 4}, 1);
  const Operand w = Operand::random({5, 4}, 2);
  const Operand bias = Operand::random({4}, 3);
  EXPECT_DEATH(linear_forward(y, x, w, bias, {}), "linear_forward: bias is \\[4\\], \\[5\\] expected");
  const Operand dbias = Operand::zeros({5});
  EXPECT_DEATH(linear_backward(x, {}, dbias, y, x, w, {}), "linear: dbias without dw");
}

}  // namespace
}  // namespace trireme
