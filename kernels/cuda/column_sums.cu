#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/launch.cuh"

namespace trireme::cuda {
namespace {

constexpr int kColumns = kWarpSize;  // of a block
constexpr int kWarps = 16;           // each sums some of the ranges

__global__ void __launch_bounds__(kColumns* kWarps)
    add_partial_sums(float* first, float* second, const float* partial, int num_ranges, int row, int width) {
  __shared__ float of_warps[kWarps][kColumns];
  const int column = static_cast<int>(blockIdx.x) * kColumns + static_cast<int>(threadIdx.x);
  const bool is_there = column < row;
  float sum = 0.0F;
  if (is_there) {
    for (int range = static_cast<int>(threadIdx.y); range < num_ranges; range += kWarps)
      sum += partial[static_cast<std::int64_t>(range) * row + column];
  }
  of_warps[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || !is_there) return;
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) sum += of_warps[warp][threadIdx.x];
  (column < width ? first + column : second + column - width)[0] += sum;
}

}  // namespace

void add_column_sums(float* first, float* second, const float* partial, std::int64_t num_ranges,
                     std::int64_t width, const Stream& stream) {
  const std::int64_t row = second == nullptr ? width : 2 * width;
  launch(add_partial_sums, {divide_up(row, kColumns), dim3(kColumns, kWarps)}, stream, first, second, partial,
         static_cast<int>(num_ranges), static_cast<int>(row), static_cast<int>(width));
}

}  // namespace trireme::cuda
