// Launches of kernels, and the loop of those that work on flat memory.
#pragma once

#include <cstdint>
#include <type_traits>

#include <cuda_runtime_api.h>

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/stream.h"

namespace trireme::cuda {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

struct Grid {
  std::int64_t num_blocks = 0;
  dim3 block;
  std::int64_t shared_bytes = 0;  // beside what the kernel declares
};

// Runs a kernel whose blocks depend on the sizes it is given, on the stream's device.  No blocks are no work.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), const Grid& grid, const Stream& stream,
            std::type_identity_t<Parameters>... parameters) {
  make_current(stream.device());
  void* arguments[] = {&parameters...};
  launch_kernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(grid.num_blocks)),
                grid.block, grid.shared_bytes, arguments, *stream.cuda());
}

// --- Flat memory. ---

inline constexpr int kFlatThreads = 256;
inline constexpr int kFlatPacks = 4;  // of a thread, where registers suffice

// The launch of a kernel that calls for_each_pack<width, packs>(n, ...).
inline Grid flat_grid(std::int64_t n, int width, int packs = kFlatPacks) {
  return {divide_up(n, std::int64_t{kFlatThreads} * packs * width), kFlatThreads};
}

// Calls body.operator()<w>(i) for runs of w elements from i on, which together are [0, n): w is kWidth, and 1
// for what is left at the end.
template <int kWidth, int kPacks = kFlatPacks, typename Body>
__device__ inline void for_each_pack(std::int64_t n, Body body) {
  std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kPacks * kFlatThreads + threadIdx.x) * kWidth;
#pragma unroll
  for (int k = 0; k < kPacks; ++k, i += kFlatThreads * kWidth) {
    if (i + kWidth <= n) {
      body.template operator()<kWidth>(i);
    } else if constexpr (kWidth > 1) {
      for (std::int64_t j = i; j < n; ++j) body.template operator()<1>(j);
    }
  }
}

}  // namespace trireme::cuda
