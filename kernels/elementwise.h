// Elementwise ops.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// x = value.  Contiguous float32, on a CUDA device also bfloat16; or int32, and then 0.
void fill(Tensor x, float value, Stream stream);

// y += x, of equal shape.  Contiguous float32, on a CUDA device also bfloat16.
void accumulate(Tensor y, Tensor x, Stream stream);

// y = x, of equal shape and dtype; rows of either may lie apart.  With the stream of a CUDA device, either
// may lie in the CPU's memory (Buffer::pinned_for): it then must not change until the stream has done its
// work.
void copy(Tensor y, Tensor x, Stream stream);

// y = x in y's type, of equal shape: one is float32, the other bfloat16, rounded to nearest, ties to even; a
// NaN stays one.  Contiguous, on any device; they may not overlap.
void convert(Tensor y, Tensor x, Stream stream);

}  // namespace trireme
