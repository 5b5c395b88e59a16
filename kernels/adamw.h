// The AdamW update (Loshchilov & Hutter 2019, algorithm 2) over flat memory, in one pass.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

struct AdamWOptions {
  float learning_rate = 0.0F;
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;  // decoupled: param -= learning_rate * weight_decay * param
  std::int64_t step = 1;      // 1 for the first update: the bias corrections are 1 - beta^step
};

// With g = grad * gradient_scale[0]:  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
// param -= learning_rate (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon) + weight_decay
// param). `gradient_scale` is one float32 on the device (what clipping found), so that the host need not wait
// for it. All tensors are flat, of equal length.
void adamw_step(Tensor param, Tensor m, Tensor v, Tensor grad, Tensor gradient_scale,
                const AdamWOptions& options, Stream stream);

}  // namespace trireme
