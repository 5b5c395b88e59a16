#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/select.cuh"
#include "kernels/top_k.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 512;  // of a block, which has a row

// The columns of a warp, one after the other: [first, end).
struct WarpColumns {
  int first, end;

  __device__ explicit WarpColumns(int width) {
    const int count = (width + kThreads - 1) / kThreads * kWarpSize;
    first = min(width, static_cast<int>(threadIdx.x) / kWarpSize * count);
    end = min(width, first + count);
  }
};

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    select_top(float* values, std::int32_t* tokens, const T* logits, std::int64_t stride, int width, int k) {
  __shared__ SearchMemory<kThreads> memory;
  const T* const row = logits + static_cast<std::int64_t>(blockIdx.x) * stride;
  const Place last =
      find_place<kThreads, kWidth>(memory, row, width, 0, static_cast<Place>(k - 1), [](float) {
        return Place{1};
      }).place;
  const WarpColumns columns(width);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  Place count = 0;
  for (int v = columns.first + lane; v < columns.end; v += kWarpSize)
    count += place_of(load_floats<1>(row + v)[0], v) >= last;
  const Place through = block_scan<kThreads>(count, memory.of_warps);
  // Where the warp's first goes: its last lane's, less all of the warp's.
  auto next = static_cast<int>(__shfl_sync(0xFFFFFFFFU, through, kWarpSize - 1) - warp_sum(count));
  for (int begin = columns.first; begin < columns.end; begin += kWarpSize) {
    const int v = begin + lane;
    const float x = v < columns.end ? load_floats<1>(row + v)[0] : 0.0F;
    const bool is_chosen = v < columns.end && place_of(x, v) >= last;
    const unsigned chosen = __ballot_sync(0xFFFFFFFFU, is_chosen);
    if (is_chosen) {
      const std::int64_t to =
          static_cast<std::int64_t>(blockIdx.x) * k + next + __popc(chosen & ((1U << lane) - 1));
      values[to] = x;
      tokens[to] = v;
    }
    next += __popc(chosen);
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) add_hits(std::int32_t* hits, const T* logits, std::int64_t stride,
                                                     int width, const std::int32_t* targets) {
  const T* const row = logits + static_cast<std::int64_t>(blockIdx.x) * stride;
  const int target = targets[blockIdx.x];
  if (target < 0 || target >= width) return;
  const float of_target = load_floats<1>(row + target)[0];
  bool is_hit = of_target == of_target;
  for_each_column<kThreads, kWidth>(width, [&]<int w>(int v) {
    const Floats<w> x = load_floats<w>(row + v);
#pragma unroll
    for (int j = 0; j < w; ++j) is_hit &= !(v + j < target ? x[j] >= of_target : x[j] > of_target);
  });
  if (__syncthreads_and(is_hit) && threadIdx.x == 0) atomicAdd(hits, 1);
}

}  // namespace

void top_k(Tensor values_NK, Tensor tokens_NK, Tensor logits_NV, Stream stream) {
  with_type_and_width(logits_NV.dtype(), rows_are_aligned(logits_NV), [&]<typename T, int kWidth>() {
    launch(select_top<T, kWidth>, {logits_NV.dim(0), kThreads}, stream, values_NK.data<float>(),
           tokens_NK.data<std::int32_t>(), logits_NV.data<T>(), logits_NV.stride(0),
           static_cast<int>(logits_NV.dim(1)), static_cast<int>(values_NK.dim(1)));
  });
}

void count_hits(Tensor hits_1, Tensor logits_NV, Tensor targets_N, Stream stream) {
  with_type_and_width(logits_NV.dtype(), rows_are_aligned(logits_NV), [&]<typename T, int kWidth>() {
    launch(add_hits<T, kWidth>, {logits_NV.dim(0), kThreads}, stream, hits_1.data<std::int32_t>(),
           logits_NV.data<T>(), logits_NV.stride(0), static_cast<int>(logits_NV.dim(1)),
           targets_N.data<std::int32_t>());
  });
}

}  // namespace trireme::cuda
