// Elementwise ops on contiguous float32 tensors.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// x = value.
void fill(Tensor x, float value, Stream stream);

}  // namespace trireme
