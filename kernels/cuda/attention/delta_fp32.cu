// The first step of attention's backward: of each query, the dot product of dout and out.
#include "kernels/cuda/attention/launch_fp32.h"
#include "kernels/cuda/kernel.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 32;

// A warp for each query of each head.
__global__ void __launch_bounds__(kThreads)
    attention_delta_fp32(const __grid_constant__ AttentionParameters<float> p, float* __restrict__ delta) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const std::int64_t row =
      (static_cast<std::int64_t>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) / kLanes;
  const std::int64_t head = row / p.num_queries;  // of all sequences
  const int query = static_cast<int>(row % p.num_queries);
  if (head >= static_cast<std::int64_t>(p.num_sequences) * p.num_heads) return;
  const int b = static_cast<int>(head / p.num_heads), h = static_cast<int>(head % p.num_heads);
  const float* const out = p.out.head(b, h) + query * p.out.row_stride;
  const float* const dout = p.dout.head(b, h) + query * p.dout.row_stride;
  float sum = 0.0F;
  for (int d = lane; d < p.width; d += kLanes) sum = fmaf(out[d], dout[d], sum);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xFFFFFFFF, sum, distance);
  if (lane == 0) delta[row] = sum;
}

const Kernel delta_kernel(attention_delta_fp32, kThreads);

}  // namespace

void launch_attention_delta_fp32(const AttentionParameters<float>& p, float* delta,
                                 const StreamState& stream) {
  const std::int64_t rows = static_cast<std::int64_t>(p.num_sequences) * p.num_heads * p.num_queries;
  constexpr int kRowsOfBlock = kThreads / kLanes;
  delta_kernel.launch((rows + kRowsOfBlock - 1) / kRowsOfBlock, stream, p, delta);
}

}  // namespace trireme::cuda
