#include "tests/reference/linear.h"

#include <cmath>
#include <numbers>

namespace trireme::reference {

Array matmul(const Array& a, const Array& b, std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a,
             bool transpose_b) {
  Array c = zeros(m * n);
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t column = 0; column < n; ++column) {
      for (std::int64_t i = 0; i < k; ++i) {
        const double left = at(a, transpose_a ? i * m + row : row * k + i);
        const double right = at(b, transpose_b ? column * k + i : i * n + column);
        at(c, row * n + column) += left * right;
      }
    }
  }
  return c;
}

Array linear(const Array& x, const Array& w, const Array& bias, std::int64_t n, std::int64_t i,
             std::int64_t o) {
  Array y = matmul(x, w, n, o, i, false, true);
  for (std::int64_t e = 0; e < n * o && !bias.empty(); ++e) at(y, e) += at(bias, e % o);
  return y;
}

LinearGradients linear_backward(const Array& dy, const Array& x, const Array& w, std::int64_t n,
                                std::int64_t i, std::int64_t o) {
  LinearGradients result;
  result.dx = matmul(dy, w, n, i, o);
  result.dw = matmul(dy, x, o, i, n, true);
  result.dbias = zeros(o);
  for (std::int64_t e = 0; e < n * o; ++e) at(result.dbias, e % o) += at(dy, e);
  return result;
}

double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double gelu_tanh_derivative(double x) {
  const double slope = std::sqrt(2.0 / std::numbers::pi);
  const double t = std::tanh(slope * (x + 0.044715 * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope * (1.0 + 3.0 * 0.044715 * x * x);
}

}  // namespace trireme::reference
