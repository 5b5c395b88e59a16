// Finds places in the order of a row's logits without sorting them.
#pragma once

#include <cstdint>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/top_k.h"

namespace trireme::cuda {

inline constexpr int kTokenBits = 24;
inline constexpr int kDigitBits = 12;
inline constexpr int kBins = 1 << kDigitBits;
static_assert(kMaxOrderedVocabulary == 1 << kTokenBits && kTokenBits == 2 * kDigitBits);

using Place = unsigned long long;

// A token with its logit, as a number: the likelier, the larger; of equal logits, the first token.
__device__ inline Place place_of(float logit, int token) {
  unsigned bits = __float_as_uint(logit + 0.0F);  // one zero
  bits = logit != logit ? 0U : (bits >> 31) != 0U ? ~bits : bits | 0x80000000U;
  return static_cast<Place>(bits) << kTokenBits | static_cast<unsigned>((1 << kTokenBits) - 1 - token);
}
__device__ inline int token_at(Place place) {
  return (1 << kTokenBits) - 1 - static_cast<int>(place & ((1 << kTokenBits) - 1));
}

// All threads of the block get the largest.
template <int kThreads>
__device__ inline Place block_max(Place x) {
  constexpr int kWarps = kThreads / kWarpSize;
  __shared__ Place of_warps[kWarps];
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    x = max(x, __shfl_xor_sync(0xFFFFFFFFU, x, distance));
  if (threadIdx.x % kWarpSize == 0) of_warps[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  x = of_warps[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) x = max(x, of_warps[warp]);
  return x;
}

// The sum of the numbers of this thread and those before it.  REQUIRES: all threads of the block call it, and
// a barrier before `of_warps` is used again.
template <int kThreads, typename T>
__device__ inline T block_scan(T x, T (&of_warps)[kThreads / kWarpSize]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const T before = __shfl_up_sync(0xFFFFFFFFU, x, distance);
    if (lane >= distance) x += before;
  }
  if (lane == kWarpSize - 1) of_warps[warp] = x;
  __syncthreads();
  for (int i = 0; i < warp; ++i) x += of_warps[i];
  return x;
}

// What a search of the block's threads shares.
template <int kThreads>
struct SearchMemory {
  Place bins[kBins];  // what tokens with the digit measure; the likeliest digit first
  Place of_warps[kThreads / kWarpSize];
  int digit;     // that was found
  Place before;  // what the digits before it measure
};

struct Found {
  Place place;
  Place before;   // the measure of all that are likelier
  Place measure;  // its own
};

// From the likeliest token on, the first with which the sum of measure(logit) exceeds `bound`; only tokens
// from `last` on (none less likely) count.  Digit by digit: the row is read once for each.  Integers add up
// to the same in any order.  REQUIRES: the sum over all exceeds the bound.
template <int kThreads, int kWidth, typename T, typename Measure>
__device__ inline Found find_place(SearchMemory<kThreads>& memory, const T* row, int width, Place last,
                                   Place bound, Measure measure) {
  constexpr int kBinsPerThread = kBins / kThreads;
  Found found = {};
  Place left = bound;
#pragma unroll 1
  for (int shift = 4 * kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kThreads) memory.bins[i] = 0;
    __syncthreads();
    for_each_column<kThreads, kWidth>(width, [&]<int w>(int v) {
      const Floats<w> x = load_floats<w>(row + v);
#pragma unroll
      for (int j = 0; j < w; ++j) {
        const Place place = place_of(x[j], v + j);
        if (place < last || place >> (shift + kDigitBits) != found.place) continue;
        const Place own = measure(x[j]);
        if (own > 0) atomicAdd(&memory.bins[kBins - 1 - static_cast<int>(place >> shift & (kBins - 1))], own);
      }
    });
    __syncthreads();
    const int first = static_cast<int>(threadIdx.x) * kBinsPerThread;
    Place own = 0;
#pragma unroll
    for (int i = 0; i < kBinsPerThread; ++i) own += memory.bins[first + i];
    const Place end = block_scan<kThreads>(own, memory.of_warps);
    if (left >= end - own && left < end) {
      Place before = end - own;
      int i = first;
      while (left - before >= memory.bins[i]) before += memory.bins[i++];
      memory.before = before;
      memory.digit = i;
    }
    __syncthreads();
    left -= memory.before;
    found.place = found.place << kDigitBits | static_cast<Place>(kBins - 1 - memory.digit);
    found.measure = memory.bins[memory.digit];
    __syncthreads();  // all have read
  }
  found.before = bound - left;
  return found;
}

}  // namespace trireme::cuda
