// The AdamW optimizer over a model's parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/paged_buffer.h"
#include "kernels/stream.h"
#include "parallel/parameter_buffer.h"
#include "trainer/config.h"

namespace trireme {

// Keeps the two moments, laid out flat like the parameters, of those that it changes.  Weight decay is
// decoupled and touches matrices alone.
class AdamW {
 public:
  // Changes all parameters, which outlive the optimizer.  The moments are zero.
  AdamW(const ParameterBuffer& parameters, const OptimConfig& config);
  // Changes the elements `owned` of the flat values alone, and has memory for their moments alone if they
  // begin and end with pages.
  AdamW(const ParameterBuffer& parameters, const OptimConfig& config, const std::vector<FlatRange>& owned);

  // The update number `step` (from 1) from gradients * gradient_scale[0], which are flat like the parameters.
  void step(Tensor gradients, Tensor gradient_scale, double learning_rate, std::int64_t step, Stream stream);
  // From the parameters' own gradients.
  void step(Tensor gradient_scale, double learning_rate, std::int64_t step, Stream stream) {
    this->step(parameters_.gradients(), gradient_scale, learning_rate, step, stream);
  }

  // Zero, or on a device without memory, where the optimizer changes nothing.
  Tensor first_moment() const { return m_; }
  Tensor second_moment() const { return v_; }
  // What the moments take of the memory.
  std::int64_t resident_bytes() const { return m_memory_.resident_bytes() + v_memory_.resident_bytes(); }

 private:
  // Neighbours that decay alike are updated together.
  struct Stretch {
    FlatRange elements;
    bool decays = false;
  };

  const ParameterBuffer& parameters_;
  OptimConfig config_;
  std::vector<Stretch> stretches_;
  PagedBuffer m_memory_;
  PagedBuffer v_memory_;
  Tensor m_;
  Tensor v_;
};

}  // namespace trireme
