// The gradient's global norm.
#pragma once

#include <vector>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/flat_range.h"

namespace trireme {

// Of a gradient that ranks share: each counts `counted` of its flat gradient alone, and what they count is
// summed over `groups`, one after the other.
class GradientNorm {
 public:
  GradientNorm(std::vector<FlatRange> counted, std::vector<Communicator*> groups, Device device = {});

  // The square of the norm of the flat gradient, one float32 on the device, the same on all ranks; NaN or Inf
  // when any element is.  Valid until the next call.
  Tensor squared(Tensor gradients, Stream stream);

 private:
  std::vector<FlatRange> counted_;
  std::vector<Communicator*> groups_;
  Buffer memory_;
  Tensor sum_of_squares_;
};

}  // namespace trireme
