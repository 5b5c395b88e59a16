// How the threads of a block go through a row of logits that is longer than what they could hold.
#pragma once

#include "kernels/cuda/vector.cuh"
#include "kernels/tensor.h"

namespace trireme::cuda {

// Calls use.operator()<w>(v) for packs of w columns, all of them together.
template <int kThreads, int kWidth, typename Use>
__device__ inline void for_each_column(int width, Use use) {
  const int whole = width - width % kWidth;
  for (int v = static_cast<int>(threadIdx.x) * kWidth; v < whole; v += kThreads * kWidth)
    use.template operator()<kWidth>(v);
  if constexpr (kWidth > 1) {
    const int v = whole + static_cast<int>(threadIdx.x);
    if (v < width) use.template operator()<1>(v);
  }
}

// Whether rows begin at multiples of 16 bytes.
inline bool rows_are_aligned(const Tensor& x_NV) {
  return are_aligned(x_NV.raw_data()) && x_NV.stride(0) * size_bytes(x_NV.dtype()) % 16 == 0;
}

}  // namespace trireme::cuda
