// Matrix products, fully connected layers and activations.
#pragma once

#include "tests/reference/array.h"

namespace trireme::reference {

// c[m, n] = a[m, k] b[k, n].  A transposed operand is stored [k, m], or [n, k].
Array matmul(const Array& a, const Array& b, std::int64_t m, std::int64_t n, std::int64_t k,
             bool transpose_a = false, bool transpose_b = false);

// y[n, o] = x[n, i] w[o, i]^T + bias[o]; an empty bias is none.
Array linear(const Array& x, const Array& w, const Array& bias, std::int64_t n, std::int64_t i,
             std::int64_t o);

struct LinearGradients {
  Array dx, dw, dbias;
};
LinearGradients linear_backward(const Array& dy, const Array& x, const Array& w, std::int64_t n,
                                std::int64_t i, std::int64_t o);

double gelu_tanh(double x);
double gelu_tanh_derivative(double x);

}  // namespace trireme::reference
