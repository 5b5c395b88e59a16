// What AdamW's update multiplies by, the same for every element and on every device.  Internal to kernels/.
#pragma once

#include <cmath>

#include "kernels/adamw.h"

namespace trireme {

struct AdamWFactors {
  explicit AdamWFactors(const AdamWOptions& options)
      : beta1(options.beta1), beta2(options.beta2), epsilon(options.epsilon) {
    const double step = static_cast<double>(options.step);
    const double correction1 = 1.0 - std::pow(static_cast<double>(options.beta1), step);
    const double correction2 = 1.0 - std::pow(static_cast<double>(options.beta2), step);
    rate = static_cast<float>(options.learning_rate / correction1);
    inverse_root = static_cast<float>(1.0 / std::sqrt(correction2));
    decay = options.learning_rate * options.weight_decay;
  }

  float beta1, beta2, epsilon;
  float rate;          // of m
  float inverse_root;  // of the root of v
  float decay;         // of param
};

}  // namespace trireme
