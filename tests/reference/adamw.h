// The AdamW update.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/adamw.h"
#include "tests/reference/array.h"

namespace trireme::reference {

struct AdamWUpdate {
  float learning_rate = 0.0F;
  float weight_decay = 0.0F;
  double gradient_scale = 1.0;
  std::int64_t step = 1;  // its number, from 1
  AdamWOptions options;
};

void adamw_step(Array& param, Array& m, Array& v, const Array& grad, const AdamWUpdate& update);
// What the op takes for the same.
std::vector<float> adamw_factors(const AdamWUpdate& update);

}  // namespace trireme::reference
