#include "tests/reference/adamw.h"

#include <cmath>

namespace trireme::reference {

void adamw_step(Array& param, Array& m, Array& v, const Array& grad, double gradient_scale,
                const AdamWOptions& options) {
  const double beta1 = options.beta1;
  const double beta2 = options.beta2;
  const double step = static_cast<double>(options.step);
  for (std::size_t i = 0; i < param.size(); ++i) {
    const double g = grad[i] * gradient_scale;
    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
    const double m_hat = m[i] / (1.0 - std::pow(beta1, step));
    const double v_hat = v[i] / (1.0 - std::pow(beta2, step));
    param[i] -= options.learning_rate *
                (m_hat / (std::sqrt(v_hat) + options.epsilon) + options.weight_decay * param[i]);
  }
}

}  // namespace trireme::reference
