#include <cstdint>

#include <cuda_bf16.h>

#include "kernels/cuda/attention/forward_bf16.h"
#include "kernels/cuda/kernel.h"

namespace trireme::cuda {
namespace {

constexpr int kRowsPerBlock = 4;
constexpr int kColumnsPerLane = 4;  // 32 lanes, 128 columns at most

// A warp for each row.
__global__ void __launch_bounds__(32 * kRowsPerBlock)
    attention_forward_combine(AttentionParameters<Bfloat16> p, ForwardGrid grid, int split_width) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t num_rows = static_cast<std::int64_t>(p.num_sequences) * p.num_heads * p.num_queries;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / 32;
  if (row >= num_rows) return;

  float largest = -INFINITY;
  for (int split = 0; split < grid.num_splits; ++split) {
    largest = fmaxf(largest, grid.split_lse[split * num_rows + row]);
  }
  float sum = 0.0F;
  float columns[kColumnsPerLane] = {};
  for (int split = 0; split < grid.num_splits; ++split) {
    const float lse = grid.split_lse[split * num_rows + row];
    if (lse == -INFINITY) continue;
    const float weight = expf(lse - largest);
    sum += weight;
    const float* const from = grid.split_out + (split * num_rows + row) * split_width;
#pragma unroll
    for (int i = 0; i < kColumnsPerLane; ++i) {
      const int column = lane + 32 * i;
      if (column < p.width) columns[i] += weight * from[column];
    }
  }

  const int t = static_cast<int>(row % p.num_queries);
  const int head = static_cast<int>(row / p.num_queries);
  Bfloat16* const to = p.out.head(head / p.num_heads, head % p.num_heads) + t * p.out.row_stride;
  const float factor = sum == 0.0F ? 0.0F : 1.0F / sum;
#pragma unroll
  for (int i = 0; i < kColumnsPerLane; ++i) {
    const int column = lane + 32 * i;
    if (column < p.width) to[column].bits = __bfloat16_as_ushort(__float2bfloat16_rn(columns[i] * factor));
  }
  if (p.lse != nullptr && lane == 0) p.lse[row] = sum == 0.0F ? -INFINITY : largest + logf(sum);
}

const Kernel combine_kernel(attention_forward_combine, 32 * kRowsPerBlock);

}  // namespace

void launch_forward_combine(const AttentionParameters<Bfloat16>& p, const ForwardGrid& grid, int split_width,
                            StreamState& stream) {
  const std::int64_t num_rows = static_cast<std::int64_t>(p.num_sequences) * p.num_heads * p.num_queries;
  combine_kernel.launch((num_rows + kRowsPerBlock - 1) / kRowsPerBlock, stream, p, grid, split_width);
}

}  // namespace trireme::cuda
