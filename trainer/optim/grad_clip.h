// The gradient's global norm, and clipping by it.
#pragma once

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// Finds the factor that brings the gradient's L2 norm down to `max_norm` (Pascanu et al. 2013); the optimizer
// applies it, so that clipping costs no pass of its own.
class GradientClip {
 public:
  // max_norm = 0: measure only.
  explicit GradientClip(double max_norm);

  // Returns the norm of the flat gradient; NaN or Inf when any element is.
  double measure(Tensor gradients, Stream stream);
  // min(1, max_norm / norm) of the last measure, one float32 on the device.
  Tensor scale() const { return scale_; }

 private:
  double max_norm_;
  Buffer memory_;
  Tensor sum_of_squares_;
  Tensor scale_;
};

}  // namespace trireme
