// Sums over the threads of a warp or a block, in an order that is always the same.
#pragma once

namespace trireme::cuda {

inline constexpr int kWarpSize = 32;

// All lanes get the sum.  REQUIRES: all lanes of the warp call it.
template <typename T>
__device__ inline T warp_sum(T x) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    x += __shfl_xor_sync(0xFFFFFFFFU, x, distance);
  return x;
}

// The first thread gets the sum.  REQUIRES: all threads of the block, of kThreads, call it, and once only.
template <int kThreads, typename T>
__device__ inline T block_sum(T x) {
  constexpr int kWarps = kThreads / kWarpSize;
  static_assert(kThreads % kWarpSize == 0 && kWarps <= kWarpSize);
  __shared__ T of_warps[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  x = warp_sum(x);
  if (lane == 0) of_warps[warp] = x;
  __syncthreads();
  if (warp == 0) x = warp_sum(lane < kWarps ? of_warps[lane] : T{});
  return x;
}

}  // namespace trireme::cuda
