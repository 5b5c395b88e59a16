#include "tests/reference/adamw.h"

#include <cmath>

namespace trireme::reference {

void adamw_step(Array& param, Array& m, Array& v, const Array& grad, double gradient_scale,
                const AdamWOptions& options, std::int64_t step) {
  const double beta1 = options.beta1;
  const double beta2 = options.beta2;
  const auto t = static_cast<double>(step);
  for (std::size_t i = 0; i < param.size(); ++i) {
    const double g = grad[i] * gradient_scale;
    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
    const double m_hat = m[i] / (1.0 - std::pow(beta1, t));
    const double v_hat = v[i] / (1.0 - std::pow(beta2, t));
    param[i] -= options.learning_rate *
                (m_hat / (std::sqrt(v_hat) + options.epsilon) + options.weight_decay * param[i]);
  }
}

std::vector<float> adamw_factors(double gradient_scale, const AdamWOptions& options, std::int64_t step) {
  const auto t = static_cast<double>(step);
  const double beta1 = options.beta1;
  const double beta2 = options.beta2;
  return {static_cast<float>(gradient_scale),
          static_cast<float>(options.learning_rate / (1.0 - std::pow(beta1, t))),
          static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t)))};
}

}  // namespace trireme::reference
