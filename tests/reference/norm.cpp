#include "tests/reference/norm.h"

#include <cmath>

#include "tests/reference/dropout.h"

namespace trireme::reference {
namespace {

Array add_branch(const Array& residual, const Array& branch, const Dropout& dropout) {
  Array sum = residual;
  if (branch.empty()) return sum;
  const Array dropped = reference::dropout(branch, dropout);
  for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += dropped[e];
  return sum;
}

}  // namespace

ResidualNorm residual_norm(const Array& residual, const Array& branch, const Array& weight, const Array& bias,
                           double epsilon, const Dropout& dropout, std::int64_t n, std::int64_t c) {
  ResidualNorm result;
  result.sum = add_branch(residual, branch, dropout);
  result.y = zeros(n * c);
  const bool is_layer_norm = !bias.empty();
  result.mean = zeros(is_layer_norm ? n : 0);
  result.rstd = zeros(n);
  for (std::int64_t row = 0; row < n; ++row) {
    double mean = 0.0;
    for (std::int64_t i = 0; is_layer_norm && i < c; ++i)
      mean += at(result.sum, row * c + i) / static_cast<double>(c);
    double variance = 0.0;
    for (std::int64_t i = 0; i < c; ++i) {
      variance += std::pow(at(result.sum, row * c + i) - mean, 2) / static_cast<double>(c);
    }
    const double rstd = 1.0 / std::sqrt(variance + epsilon);
    for (std::int64_t i = 0; i < c; ++i) {
      at(result.y, row * c + i) =
          (at(result.sum, row * c + i) - mean) * rstd * at(weight, i) + (is_layer_norm ? at(bias, i) : 0.0);
    }
    if (is_layer_norm) at(result.mean, row) = mean;
    at(result.rstd, row) = rstd;
  }
  return result;
}

ResidualNormGradients residual_norm_backward(const Array& dsum, const Array& dy, const Array& sum,
                                             const Array& mean, const Array& rstd, const Array& weight,
                                             const Dropout& dropout, std::int64_t n, std::int64_t c) {
  ResidualNormGradients result;
  result.dsum = dsum;
  result.dweight = zeros(c);
  const bool is_layer_norm = !mean.empty();
  result.dbias = zeros(is_layer_norm ? c : 0);
  for (std::int64_t row = 0; row < n; ++row) {
    // With x the normalised row and g = dy weight: rstd (g - mean(g) - x mean(g x)), without mean(g) of an
    // RMSNorm.
    const double mean_of_row = is_layer_norm ? at(mean, row) : 0.0;
    double mean_g = 0.0;
    double mean_gx = 0.0;
    for (std::int64_t i = 0; i < c; ++i) {
      const double x = (at(sum, row * c + i) - mean_of_row) * at(rstd, row);
      const double g = at(dy, row * c + i) * at(weight, i);
      if (is_layer_norm) mean_g += g / static_cast<double>(c);
      mean_gx += g * x / static_cast<double>(c);
      at(result.dweight, i) += at(dy, row * c + i) * x;
      if (is_layer_norm) at(result.dbias, i) += at(dy, row * c + i);
    }
    for (std::int64_t i = 0; i < c; ++i) {
      const double x = (at(sum, row * c + i) - mean_of_row) * at(rstd, row);
      const double g = at(dy, row * c + i) * at(weight, i);
      at(result.dsum, row * c + i) += at(rstd, row) * (g - mean_g - x * mean_gx);
    }
  }
  result.dbranch = reference::dropout(result.dsum, dropout);
  return result;
}

}  // namespace trireme::reference
