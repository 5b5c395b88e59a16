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

ResidualLayerNorm residual_layer_norm(const Array& residual, const Array& branch, const Array& weight,
                                      const Array& bias, double epsilon, const Dropout& dropout,
                                      std::int64_t n, std::int64_t c) {
  ResidualLayerNorm result;
  result.sum = add_branch(residual, branch, dropout);
  result.y = zeros(n * c);
  result.mean = zeros(n);
  result.rstd = zeros(n);
  for (std::int64_t row = 0; row < n; ++row) {
    double mean = 0.0;
    for (std::int64_t i = 0; i < c; ++i) mean += at(result.sum, row * c + i) / static_cast<double>(c);
    double variance = 0.0;
    for (std::int64_t i = 0; i < c; ++i) {
      variance += std::pow(at(result.sum, row * c + i) - mean, 2) / static_cast<double>(c);
    }
    const double rstd = 1.0 / std::sqrt(variance + epsilon);
    for (std::int64_t i = 0; i < c; ++i) {
      at(result.y, row * c + i) = (at(result.sum, row * c + i) - mean) * rstd * at(weight, i) + at(bias, i);
    }
    at(result.mean, row) = mean;
    at(result.rstd, row) = rstd;
  }
  return result;
}

ResidualLayerNormGradients residual_layer_norm_backward(const Array& dsum, const Array& dy, const Array& sum,
                                                        const Array& mean, const Array& rstd,
                                                        const Array& weight, const Dropout& dropout,
                                                        std::int64_t n, std::int64_t c) {
  ResidualLayerNormGradients result;
  result.dsum = dsum;
  result.dweight = zeros(c);
  result.dbias = zeros(c);
  for (std::int64_t row = 0; row < n; ++row) {
    // With x the normalised row and g = dy weight: rstd (g - mean(g) - x mean(g x)).
    double mean_g = 0.0;
    double mean_gx = 0.0;
    for (std::int64_t i = 0; i < c; ++i) {
      const double x = (at(sum, row * c + i) - at(mean, row)) * at(rstd, row);
      const double g = at(dy, row * c + i) * at(weight, i);
      mean_g += g / static_cast<double>(c);
      mean_gx += g * x / static_cast<double>(c);
      at(result.dweight, i) += at(dy, row * c + i) * x;
      at(result.dbias, i) += at(dy, row * c + i);
    }
    for (std::int64_t i = 0; i < c; ++i) {
      const double x = (at(sum, row * c + i) - at(mean, row)) * at(rstd, row);
      const double g = at(dy, row * c + i) * at(weight, i);
      at(result.dsum, row * c + i) += at(rstd, row) * (g - mean_g - x * mean_gx);
    }
  }
  result.dbranch = reference::dropout(result.dsum, dropout);
  return result;
}

ResidualRmsNorm residual_rms_norm(const Array& residual, const Array& branch, const Array& weight,
                                  double epsilon, const Dropout& dropout, std::int64_t n, std::int64_t c) {
  ResidualRmsNorm result;
  result.sum = add_branch(residual, branch, dropout);
  result.y = zeros(n * c);
  result.rrms = zeros(n);
  for (std::int64_t row = 0; row < n; ++row) {
    double square = 0.0;
    for (std::int64_t i = 0; i < c; ++i)
      square += std::pow(at(result.sum, row * c + i), 2) / static_cast<double>(c);
    at(result.rrms, row) = 1.0 / std::sqrt(square + epsilon);
    for (std::int64_t i = 0; i < c; ++i) {
      at(result.y, row * c + i) = at(result.sum, row * c + i) * at(result.rrms, row) * at(weight, i);
    }
  }
  return result;
}

ResidualRmsNormGradients residual_rms_norm_backward(const Array& dsum, const Array& dy, const Array& sum,
                                                    const Array& rrms, const Array& weight,
                                                    const Dropout& dropout, std::int64_t n, std::int64_t c) {
  ResidualRmsNormGradients result;
  result.dsum = dsum;
  result.dweight = zeros(c);
  for (std::int64_t row = 0; row < n; ++row) {
    // With x the normalised row and g = dy weight: rrms (g - x mean(g x)).
    double mean_gx = 0.0;
    for (std::int64_t i = 0; i < c; ++i) {
      const double x = at(sum, row * c + i) * at(rrms, row);
      mean_gx += at(dy, row * c + i) * at(weight, i) * x / static_cast<double>(c);
      at(result.dweight, i) += at(dy, row * c + i) * x;
    }
    for (std::int64_t i = 0; i < c; ++i) {
      const double x = at(sum, row * c + i) * at(rrms, row);
      at(result.dsum, row * c + i) += at(rrms, row) * (at(dy, row * c + i) * at(weight, i) - x * mean_gx);
    }
  }
  result.dbranch = reference::dropout(result.dsum, dropout);
  return result;
}

}  // namespace trireme::reference
