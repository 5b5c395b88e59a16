// The AdamW optimizer over a model's parameters.
#pragma once

#include <cstdint>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "parallel/parameter_buffer.h"
#include "trainer/config.h"

namespace trireme {

// Keeps the two moments, flat like the parameters.  Weight decay is decoupled and touches matrices alone.
class AdamW {
 public:
  // `parameters` outlives the optimizer.  The moments are zero.
  AdamW(const ParameterBuffer& parameters, const OptimConfig& config);

  // The update number `step` (from 1) from gradients * gradient_scale[0].
  void step(Tensor gradient_scale, double learning_rate, std::int64_t step, Stream stream);

  Tensor first_moment() const { return m_; }
  Tensor second_moment() const { return v_; }

 private:
  const ParameterBuffer& parameters_;
  OptimConfig config_;
  Buffer memory_;
  Tensor m_;
  Tensor v_;
};

}  // namespace trireme
