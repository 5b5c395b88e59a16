// Products in bf16, whose weight gradients are fp32, with the epilogues that only cuBLASLt has.
#include "kernels/linear.h"

#include <cmath>

#include <gtest/gtest.h>

#include "kernels/cuda/cublas_lt.h"
#include "kernels/matmul.h"
#include "tests/kernels/cuda/tolerance.h"
#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"
#include "tests/reference/linear.h"

namespace trireme {
namespace {

using reference::Array;

constexpr DType kBf16 = DType::kBfloat16;

struct Case {
  std::int64_t n, i, o;
};
// Whole vectors, and rows of odd lengths.
constexpr Case kCases[] = {{64, 32, 48}, {5, 40, 16}, {33, 31, 17}};

Array added(Array x, const Array& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  return x;
}

TEST(CudaLinear, ActivationForward) {
  for (const Case& c : kCases) {
    for (const Activation activation : {Activation::kGeluTanh, Activation::kRelu}) {
      for (const bool with_bias : {true, false}) {
        SCOPED_TRACE(testing::Message() << c.n << " x " << c.i << " x " << c.o << " bias " << with_bias);
        const Operand x = Operand::random({c.n, c.i}, 1, 1.0, {}, kBf16);
        const Operand w =
            Operand::random({c.o, c.i}, 2, 1.0 / std::sqrt(static_cast<double>(c.i)), {}, kBf16);
        const Operand bias = Operand::random({c.o}, 3, 1.0, {}, kBf16);
        const Operand pre = Operand::poisoned({c.n, c.o}, {}, kBf16);
        const Operand y = Operand::poisoned({c.n, c.o}, {}, kBf16);
        linear_activation_forward(y, pre, x, w, with_bias ? bias.tensor() : Tensor(), activation,
                                  test_stream());
        const Array exact =
            reference::linear(x.doubles(), w.doubles(), with_bias ? bias.doubles() : Array(), c.n, c.i, c.o);
        expect_as_good_as(pre, rounded(exact, kBf16), exact, "preactivation");
        const auto activated = [&](Array values) {
          for (double& value : values) value = reference::activation(activation, value);
          return values;
        };
        // As plain arithmetic has it that also goes by way of a rounded preactivation.
        expect_as_good_as(y, rounded(activated(rounded(exact, kBf16)), kBf16), activated(exact), "y");
        linear_activation_forward(y, y, x, w, with_bias ? bias.tensor() : Tensor(), activation,
                                  test_stream());
        expect_as_good_as(y, rounded(activated(rounded(exact, kBf16)), kBf16), activated(exact),
                          "y in place");
      }
    }
  }
}

// Operands of a backward pass, and what becomes of them.
struct BackwardCase {
  explicit BackwardCase(const Case& c)
      : x(Operand::random({c.n, c.i}, 1, 1.0, {}, kBf16)),
        w(Operand::random({c.o, c.i}, 2, 1.0, {}, kBf16)),
        dy(Operand::random({c.n, c.o}, 4, 1.0, {}, kBf16)),
        dx(Operand::poisoned({c.n, c.i}, {}, kBf16)),
        dw(Operand::random({c.o, c.i}, 5)),
        dbias(Operand::random({c.o}, 6)),
        exact(reference::linear_backward(dy.doubles(), x.doubles(), w.doubles(), c.n, c.i, c.o)),
        expected_dw(added(exact.dw, dw.doubles())),
        expected_dbias(added(exact.dbias, dbias.doubles())) {}

  void expect_sums() const {
    dw.expect_near(expected_dw, 1e-5, "dw");
    dbias.expect_near(expected_dbias, 1e-5, "dbias");
  }

  Operand x, w, dy, dx, dw, dbias;
  reference::LinearGradients exact;
  Array expected_dw, expected_dbias;
};

TEST(CudaLinear, Backward) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.i << " x " << c.o);
    const BackwardCase b(c);
    linear_backward(b.dx, b.dw, b.dbias, b.dy, b.x, b.w, test_stream());
    expect_as_good_as(b.dx, rounded(b.exact.dx, kBf16), b.exact.dx, "dx");
    b.expect_sums();
  }
}

// By an epilogue of the product where cuBLASLt has one, and else by two passes.
TEST(CudaLinear, BackwardThroughActivations) {
  for (const Case& c : kCases) {
    for (const Activation activation : {Activation::kGeluTanh, Activation::kRelu}) {
      SCOPED_TRACE(testing::Message() << c.n << " x " << c.i << " x " << c.o);
      const BackwardCase b(c);
      const Operand pre = Operand::random({c.n, c.i}, 3, 2.0, {}, kBf16);
      const auto differentiated = [&](Array values) {
        const Array at = pre.doubles();
        for (std::size_t e = 0; e < values.size(); ++e)
          values[e] *= reference::activation_derivative(activation, at[e]);
        return values;
      };
      linear_backward_through(b.dx, b.dw, b.dbias, b.dy, b.x, b.w, pre, activation, test_stream());
      // As plain arithmetic has it that also goes by way of a rounded product.
      expect_as_good_as(b.dx, rounded(differentiated(rounded(b.exact.dx, kBf16)), kBf16),
                        differentiated(b.exact.dx), "dx");
      b.expect_sums();
    }
  }
}

// As the output layer has it: logits in fp32 of operands in bf16.
TEST(CudaLinear, ProductOfBf16InFp32) {
  const Operand a = Operand::random({9, 24}, 1, 1.0, {}, kBf16);
  const Operand b = Operand::random({40, 24}, 2, 1.0, {}, kBf16);
  const Operand c = Operand::poisoned({9, 40}, {9, 48});
  matmul(c, a, b, {.transpose_b = true}, test_stream());
  c.expect_near(reference::linear(a.doubles(), b.doubles(), {}, 9, 24, 40), 1e-5, "c");
}

// bf16 of fp32 operands, which no op asks for and cuBLASLt has not.
TEST(CudaLinearDeathTest, WhatIsRefusedIsNamedWithItsShape) {
  const Operand a = Operand::random({4, 5}, 1);
  const Operand b = Operand::random({5, 6}, 2);
  const Operand c = Operand::poisoned({4, 6}, {}, kBf16);
  EXPECT_DEATH(cuda::multiply({.c_MN = c, .a = a, .b = b}, test_stream()),
               "cuBLASLt has no algorithm, of .4, 6. = .4, 5. .5, 6., epilogue 1");
}

}  // namespace
}  // namespace trireme
