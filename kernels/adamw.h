// The AdamW update (Loshchilov & Hutter 2019, algorithm 2) over stretches of flat memory, all in one pass,
// and what precedes it: both on the device, so that the host need not wait for the gradient's norm.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/device.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

struct AdamWOptions {
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float epsilon = 1e-8F;
};

// Elements [begin, end) of flat memory, which decay alike.
struct AdamWStretch {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  float weight_decay = 0.0F;  // decoupled: param -= learning_rate * weight_decay * param
};

// Which elements are updated, in the memory of a device: stretches of any length, cut into pieces that are
// work enough for a block of a GPU and for a thread of a CPU.
class AdamWTable {
 public:
  static constexpr std::int64_t kMaxElements = 4096;  // of a piece
  struct alignas(16) Piece {
    std::int64_t begin = 0;  // of all but a stretch's first piece a multiple of kMaxElements
    std::int32_t size = 0;
    float weight_decay = 0.0F;
  };

  // REQUIRES: stretches that ascend; between them may be holes, which aren't touched.
  AdamWTable(const std::vector<AdamWStretch>& stretches, Device device);

  const Piece* pieces() const { return static_cast<const Piece*>(memory_.data()); }  // the device's
  std::int64_t num_pieces() const { return num_pieces_; }
  // Flat memory must reach at least to here.
  std::int64_t end() const { return end_; }
  Device device() const { return memory_.device(); }

 private:
  std::int64_t num_pieces_ = 0;
  std::int64_t end_ = 0;
  Buffer memory_;
};

// What is counted of steps, int32 [kNumUpdateCounts] on the device.
enum UpdateCount : std::int64_t {
  kUpdates,          // steps that changed something
  kSkippedSteps,     // those that didn't, because a number wasn't finite
  kLastSkippedStep,  // the number of the last of them: how many of either there were before it
  kNumUpdateCounts,
};

// What all elements are updated by, float32 [kNumAdamWFactors] on the device.
enum AdamWFactor : std::int64_t {
  kLearningRate,   // whoever calls begin_update has set it
  kGradientScale,  // NaN: nothing is to be changed
  kRate,           // of m: learning_rate / (1 - beta1^t)
  kInverseRoot,    // of the root of v: 1 / sqrt(1 - beta2^t)
  kNumAdamWFactors,
};

// Decides about a step.  norm[0] = sqrt(sum_of_squares[0]), the gradient's.  If that and loss[0] are finite,
// counts[kUpdates] += 1, which is t, and the factors behind the learning rate are those of the update t, of
// gradients that are clipped to the norm `max_norm` (Pascanu et al. 2013; 0: not at all).  Else the step is
// skipped, and counted so.
void begin_update(Tensor factors, Tensor counts, Tensor norm_1, Tensor sum_of_squares_1, Tensor loss_1,
                  float max_norm, const AdamWOptions& options, Stream stream);

// Of the elements in the table, with g = grad * factors[kGradientScale]:  m = beta1 m + (1 - beta1) g,
// v = beta2 v + (1 - beta2) g^2,  param -= factors[kRate] m / (sqrt(v) factors[kInverseRoot] + epsilon)
// + factors[kLearningRate] weight_decay param.  All tensors are flat, of equal length, and need have memory
// only where the table has elements.  `rounded`, which may be empty, becomes param in bfloat16; where nothing
// is to be changed it isn't written either.
void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWTable& table, const AdamWOptions& options, Stream stream);

}  // namespace trireme
