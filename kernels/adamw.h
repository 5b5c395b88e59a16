// The AdamW update (Loshchilov & Hutter 2019, algorithm 2) over flat memory, in one pass, and what precedes
// it: both on the device, so that the host need not wait for the gradient's norm.
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
};

// What is counted of steps, int32 [kNumUpdateCounts] on the device.
enum UpdateCount : std::int64_t {
  kUpdates,          // steps that changed something
  kSkippedSteps,     // those that didn't, because a number wasn't finite
  kLastSkippedStep,  // the number of the last of them
  kNumUpdateCounts,
};

// What all elements are updated by, float32 [kNumAdamWFactors] on the device.
enum AdamWFactor : std::int64_t {
  kGradientScale,  // NaN: nothing is to be changed
  kRate,           // of m: learning_rate / (1 - beta1^t)
  kInverseRoot,    // of the root of v: 1 / sqrt(1 - beta2^t)
  kNumAdamWFactors,
};

// Decides about the step number `step`.  norm[0] = sqrt(sum_of_squares[0]), the gradient's.  If that and
// loss[0] are finite, counts[kUpdates] += 1, which is t, and the factors are those of the update t, of
// gradients that are clipped to the norm `max_norm` (Pascanu et al. 2013; 0: not at all).  Else the step is
// skipped, and counted so.
void begin_update(Tensor factors, Tensor counts, Tensor norm_1, Tensor sum_of_squares_1, Tensor loss_1,
                  float max_norm, std::int64_t step, const AdamWOptions& options, Stream stream);

// With g = grad * factors[kGradientScale]:  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
// param -= factors[kRate] m / (sqrt(v) factors[kInverseRoot] + epsilon) + learning_rate weight_decay param.
// All tensors are flat, of equal length.  `rounded`, which may be empty, becomes param in bfloat16; where
// nothing is to be changed it isn't written either.
void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWOptions& options, Stream stream);

}  // namespace trireme
