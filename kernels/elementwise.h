// Elementwise ops.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// x = value.  Contiguous float32.
void fill(Tensor x, float value, Stream stream);

// y = x, of equal shape and dtype; rows of either may lie apart.
void copy(Tensor y, Tensor x, Stream stream);

}  // namespace trireme
