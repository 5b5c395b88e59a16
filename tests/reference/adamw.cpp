#include "tests/reference/adamw.h"

#include <cmath>

namespace trireme::reference {

void adamw_step(Array& param, Array& m, Array& v, const Array& grad, const AdamWUpdate& update) {
  const double beta1 = update.options.beta1;
  const double beta2 = update.options.beta2;
  const auto t = static_cast<double>(update.step);
  for (std::size_t i = 0; i < param.size(); ++i) {
    const double g = grad[i] * update.gradient_scale;
    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
    const double m_hat = m[i] / (1.0 - std::pow(beta1, t));
    const double v_hat = v[i] / (1.0 - std::pow(beta2, t));
    param[i] -= update.learning_rate *
                (m_hat / (std::sqrt(v_hat) + update.options.epsilon) + update.weight_decay * param[i]);
  }
}

std::vector<float> adamw_factors(const AdamWUpdate& update) {
  const auto t = static_cast<double>(update.step);
  const double beta1 = update.options.beta1;
  const double beta2 = update.options.beta2;
  return {update.learning_rate, static_cast<float>(update.gradient_scale),
          static_cast<float>(update.learning_rate / (1.0 - std::pow(beta1, t))),
          static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t)))};
}

}  // namespace trireme::reference
