// The AdamW optimizer over a model's parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/adamw.h"
#include "kernels/buffer.h"
#include "kernels/paged_buffer.h"
#include "kernels/stream.h"
#include "parallel/parameter_buffer.h"
#include "trainer/config.h"

namespace trireme {

// Keeps the two moments, laid out flat like the parameters, of those that it changes, on their device.
// Operands of passes that aren't the values are rounded as these change.  Weight decay is decoupled and
// touches matrices alone.  A step whose loss or gradient is not finite changes nothing; that, and by how much
// gradients are clipped, is decided on the device.
class AdamW {
 public:
  // Changes all parameters, which outlive the optimizer.  The moments are zero.
  AdamW(const ParameterBuffer& parameters, const OptimConfig& config);
  // Changes the elements `owned` of the flat values alone, and has memory for their moments alone if they
  // begin and end with pages.
  AdamW(const ParameterBuffer& parameters, const OptimConfig& config, const std::vector<FlatRange>& owned);

  // What was done before the steps to come: bias corrections go by the updates, and skipped steps count as
  // none.
  void resume(std::int64_t updates, std::int64_t skipped, Stream stream);
  // Of the steps given to the stream from here on; 0 before the first call.
  void set_learning_rate(double learning_rate, Stream stream);
  // A step from gradients, flat like the parameters, whose squared norm and loss these are.  All that changes
  // from one step to the next is in the device's memory, so it may be recorded, see StreamGraph.
  void step(Tensor gradients, Tensor squared_norm_1, Tensor loss_1, Stream stream);
  // Of the last step, before clipping; one float32 on the device.
  Tensor gradient_norm() const { return norm_; }
  // As kernels/adamw.h has them.
  Tensor counts() const { return counts_; }

  // Zero, or on a device without memory, where the optimizer changes nothing.
  Tensor first_moment() const { return m_; }
  Tensor second_moment() const { return v_; }
  // What the moments take of the memory.
  std::int64_t resident_bytes() const { return m_memory_.resident_bytes() + v_memory_.resident_bytes(); }

 private:
  const ParameterBuffer& parameters_;
  OptimConfig config_;
  AdamWTable table_;
  Buffer small_memory_;
  Tensor factors_;
  Tensor counts_;
  Tensor norm_;
  PagedBuffer m_memory_;
  PagedBuffer v_memory_;
  Tensor m_;
  Tensor v_;
};

}  // namespace trireme
