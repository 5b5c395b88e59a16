// The gradient's global norm, and clipping by it.
#pragma once

#include <span>

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

  // Returns the norm of the flat gradient; NaN or Inf when any element is.
  double measure(Tensor gradients, Stream stream);
  // Returns the norm of the gradient whose parts all ranks of `model` have.
  // This rank's are in these ranges of its flat memory.
  double measure(Tensor gradients, std::span<const FlatRange> owned, Communicator& model, Stream stream);
  // min(1, max_norm / norm) of the last measure, one float32 on the device.
  Tensor scale() const { return scale_; }

 private:
  // From the sum of squares.
  double finish(Stream stream);

  double max_norm_;
  Buffer memory_;
  Tensor sum_of_squares_;
  Tensor scale_;
};

}  // namespace trireme
