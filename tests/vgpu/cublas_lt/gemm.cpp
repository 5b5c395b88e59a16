#include "tests/vgpu/cublas_lt/gemm.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace trireme::vgpu {
namespace {

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// op(m), row after row, as floats: rows of it are what products are made of.
std::vector<float> rows_of(const Matrix& m, bool transposed) {
  const int64_t rows = transposed ? m.columns : m.rows;
  const int64_t columns = transposed ? m.rows : m.columns;
  std::vector<float> result(rows * columns);
  for (int64_t column = 0; column < m.columns; ++column) {
    for (int64_t row = 0; row < m.rows; ++row) {
      const int64_t place = transposed ? column * columns + row : row * columns + column;
      result[place] = m.get(row, column);
    }
  }
  return result;
}

double gelu(double x, double* derivative) {
  const double slope = std::sqrt(2 / M_PI);
  const double t = std::tanh(slope * (x + 0.044715 * x * x * x));
  if (derivative) *derivative = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope * (1 + 3 * 0.044715 * x * x);
  return 0.5 * x * (1 + t);
}

float finish(const Gemm& g, int64_t row, int64_t column, float product) {
  float x = g.alpha * product;
  if (g.beta != 0) x += g.beta * g.c.get(row, column);
  if (g.bias.data) x += g.bias.get(row, 0);
  if (g.activation == Activation::kGelu) {
    if (g.auxiliary.data) g.auxiliary.set(row, column, x);
    x = static_cast<float>(gelu(x, nullptr));
  } else if (g.activation == Activation::kGeluDerivative) {
    double derivative = 0;
    gelu(g.auxiliary.get(row, column), &derivative);
    x *= static_cast<float>(derivative);
  }
  return x;
}

// The sums over k of op(a)'s rows or op(b)'s columns.
void sum_over_k(const Matrix& sums, const std::vector<float>& x, bool k_is_inner, int64_t count, int64_t k) {
  for (int64_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += k_is_inner ? x[i * k + j] : x[j * count + i];
    sums.set(i, 0, sum);
  }
}

}  // namespace

float Matrix::get(int64_t row, int64_t column) const {
  const int64_t place = column * stride + row;
  if (is_bf16) return from_bf16(reinterpret_cast<const uint16_t*>(data)[place]);
  return reinterpret_cast<const float*>(data)[place];
}

void Matrix::set(int64_t row, int64_t column, float value) const {
  const int64_t place = column * stride + row;
  if (is_bf16)
    reinterpret_cast<uint16_t*>(data)[place] = to_bf16(value);
  else
    reinterpret_cast<float*>(data)[place] = value;
}

void run(const Gemm& g) {
  const int64_t m = g.d.rows, n = g.d.columns, k = g.transpose_a ? g.a.rows : g.a.columns;
  const std::vector<float> a = rows_of(g.a, !g.transpose_a);  // [k, m]
  const std::vector<float> b = rows_of(g.b, !g.transpose_b);  // [n, k]
  std::vector<float> column_sums(m);
  std::vector<float> of_d(m);
  for (int64_t column = 0; column < n; ++column) {
    std::ranges::fill(column_sums, 0.0f);
    for (int64_t j = 0; j < k; ++j) {
      const float factor = b[column * k + j];
      const float* const row_of_a = a.data() + j * m;
      for (int64_t row = 0; row < m; ++row)
        column_sums[row] = std::fma(row_of_a[row], factor, column_sums[row]);
    }
    for (int64_t row = 0; row < m; ++row) {
      const float x = finish(g, row, column, column_sums[row]);
      g.d.set(row, column, x);
      of_d[row] += x;
    }
  }
  if (g.bias_gradient_of == Gemm::SumOf::kA) sum_over_k(g.bias_gradient, a, false, m, k);
  if (g.bias_gradient_of == Gemm::SumOf::kB) sum_over_k(g.bias_gradient, b, true, n, k);
  for (int64_t row = 0; g.bias_gradient_of == Gemm::SumOf::kD && row < m; ++row)
    g.bias_gradient.set(row, 0, of_d[row]);
}

}  // namespace trireme::vgpu
