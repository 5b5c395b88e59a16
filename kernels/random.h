// Random tensors.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// x[i] = stddev * (the (first_index + i)-th normal number of the key; see kernels/rng.h).  Contiguous
// float32.  A CUDA device takes logarithms and sines of its own, in double too: a number in many may be
// rounded the other way there.
void fill_normal(Tensor x, float stddev, std::uint64_t key, std::int64_t first_index, Stream stream);

}  // namespace trireme
