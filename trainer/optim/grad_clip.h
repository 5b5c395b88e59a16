// The gradient's global norm, and clipping by it.
#pragma once

#include <vector>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/flat_range.h"

namespace trireme {

// Finds the factor that brings the gradient's L2 norm down to `max_norm` (Pascanu et al. 2013); the optimizer
// applies it, so that clipping costs no pass of its own.
class GradientClip {
 public:
  // max_norm = 0: measure only.
  explicit GradientClip(double max_norm);
  // Of a gradient that ranks share: each counts `counted` of its flat gradient alone, and what they count is
  // summed over `groups`, one after the other.
  GradientClip(double max_norm, std::vector<FlatRange> counted, std::vector<Communicator*> groups);

  // Returns the norm of the flat gradient, the same on all ranks; NaN or Inf when any element is.
  double measure(Tensor gradients, Stream stream);
  // min(1, max_norm / norm) of the last measure, one float32 on the device.
  Tensor scale() const { return scale_; }

 private:
  double max_norm_;
  bool counts_all_;
  std::vector<FlatRange> counted_;
  std::vector<Communicator*> groups_;
  Buffer memory_;
  Tensor sum_of_squares_;
  Tensor scale_;
};

}  // namespace trireme
