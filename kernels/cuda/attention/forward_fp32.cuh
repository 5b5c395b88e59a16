// Attention in fp32: FlashAttention's online softmax, a block of threads for a block of queries.
#pragma once

#include <cmath>

#include "kernels/cuda/attention/fp32_scores.cuh"
#include "kernels/cuda/attention/launch_fp32.h"
#include "kernels/cuda/kernel.h"

namespace trireme::cuda {

template <int kWidth>
struct ForwardFp32 {
  static constexpr int kQueries = 64;
  static constexpr int kKeys = 32;
  using QueryTile = fp32::Tile<kQueries, kWidth>;
  using KeyTile = fp32::Tile<kKeys, kWidth>;
  using ProbabilityTile = fp32::Tile<kQueries, kKeys>;
  static constexpr int kSharedBytes =
      (QueryTile::kFloats + 2 * KeyTile::kFloats + ProbabilityTile::kFloats) * 4;
  // Scores of a thread.
  static constexpr int kI = kQueries / fp32::kThreadRows;
  static constexpr int kJ = kKeys / fp32::kThreadColumns;
};

// The largest score of each of a thread's queries, and the sum of the exponentials of the thread's own keys.
template <int kI>
class OnlineSoftmax {
 public:
  __device__ OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < kI; ++i) {
      largest_[i] = -INFINITY;
      sum_[i] = 0.0F;
    }
  }

  // Turns scores of query i into exponentials relative to the largest so far.  Returns the factor of what was
  // summed under a smaller one.
  template <int kJ>
  __device__ float update(int i, float (&scores)[kJ]) {
    const float old = largest_[i];
#pragma unroll
    for (int j = 0; j < kJ; ++j) largest_[i] = fmaxf(largest_[i], scores[j]);
#pragma unroll
    for (int lane = 1; lane < fp32::kThreadColumns; lane *= 2)
      largest_[i] = fmaxf(largest_[i], __shfl_xor_sync(0xFFFFFFFF, largest_[i], lane));
    // Of a query that has seen nothing yet all exponentials are 0.
    const float base = largest_[i] == -INFINITY ? 0.0F : largest_[i];
    const float factor = exp2_fast(old - base);
    sum_[i] *= factor;
#pragma unroll
    for (int j = 0; j < kJ; ++j) {
      scores[j] = exp2_fast(scores[j] - base);
      sum_[i] += scores[j];
    }
    return factor;
  }

  // Over all threads' keys.
  __device__ float sum(int i) const {
    float sum = sum_[i];
#pragma unroll
    for (int lane = 1; lane < fp32::kThreadColumns; lane *= 2) sum += __shfl_xor_sync(0xFFFFFFFF, sum, lane);
    return sum;
  }
  // log2 of the sum of exponentials of all scores.
  __device__ float log_sum(int i, float sum) const {
    return largest_[i] + log2f(sum);
  }

 private:
  float largest_[kI];
  float sum_[kI];
};

template <int kWidth>
__global__ void __launch_bounds__(fp32::kThreads,
                                  fp32::blocks_per_multiprocessor(ForwardFp32<kWidth>::kSharedBytes))
    attention_forward_fp32(const __grid_constant__ AttentionParameters<float> p) {
  using Sizes = ForwardFp32<kWidth>;
  using QueryTile = typename Sizes::QueryTile;
  using KeyTile = typename Sizes::KeyTile;
  using ProbabilityTile = typename Sizes::ProbabilityTile;
  extern __shared__ __align__(16) float shared[];
  float* const q_tile = shared;
  float* const k_tile = q_tile + QueryTile::kFloats;
  float* const v_tile = k_tile + KeyTile::kFloats;
  float* const p_tile = v_tile + KeyTile::kFloats;

  // The last queries see most keys: they come first.
  const int num_blocks = (p.num_queries + Sizes::kQueries - 1) / Sizes::kQueries;
  const int head = static_cast<int>(blockIdx.x) / num_blocks;  // of all sequences
  const int first = (num_blocks - 1 - static_cast<int>(blockIdx.x) % num_blocks) * Sizes::kQueries;
  const int b = head / p.num_heads, h = head % p.num_heads;
  const int kv = h / (p.num_heads / p.num_kv_heads);
  const Range queries = {first, min(first + Sizes::kQueries, p.num_queries)};
  const Mask mask(p, b, h);
  const ProbabilityDropout dropout(p, b, h);
  fp32::SeenKeys<Sizes::kKeys> keys(mask, queries, p.num_keys);

  const auto start_copy_of_k = [&] {
    if (keys)
      fp32::start_copy<KeyTile, fp32::KeyOrder>(k_tile, p.k.head(b, kv), p.k.row_stride, keys.block().begin,
                                                p.num_keys, p.width, p.is_aligned);
    commit_copies();
  };
  fp32::start_copy<QueryTile>(q_tile, p.q.head(b, h), p.q.row_stride, first, p.num_queries, p.width,
                              p.is_aligned);
  start_copy_of_k();
  OnlineSoftmax<Sizes::kI> softmax;
  fp32::Accumulator<Sizes::kQueries, kWidth> out;

  while (keys) {
    const Range block = keys.block();
    const bool is_whole = keys.is_whole();
    fp32::start_copy<KeyTile>(v_tile, p.v.head(b, kv), p.v.row_stride, block.begin, p.num_keys, p.width,
                              p.is_aligned);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    float scores[Sizes::kI][Sizes::kJ];
    fp32::multiply_rows<QueryTile, KeyTile>(scores, q_tile, k_tile);
    __syncthreads();
    keys.advance();
    start_copy_of_k();

    fp32::weigh(scores, p, mask, queries, block, is_whole);
#pragma unroll
    for (int i = 0; i < Sizes::kI; ++i) {
      out.scale_row(i, softmax.update(i, scores[i]));
      if (p.dropout_threshold > 0) {
        float factors[Sizes::kJ];
        fp32::find_factors(factors, dropout, first + fp32::row_of(i), block);
#pragma unroll
        for (int j = 0; j < Sizes::kJ; ++j) scores[i][j] *= factors[j];
      }
    }
    fp32::store<ProbabilityTile>(p_tile, scores);
    // The values are there, the next keys perhaps not yet.
    wait_for_copies<1>();
    __syncthreads();
    out.template add_product<ProbabilityTile, KeyTile, fp32::InOrder>(p_tile, v_tile);
    __syncthreads();
  }
  wait_for_copies<0>();  // of queries that see nothing

#pragma unroll
  for (int i = 0; i < Sizes::kI; ++i) {
    const int query = first + fp32::row_of(i);
    const float sum = softmax.sum(i);
    if (query >= queries.end) continue;
    out.store_row(i, sum == 0.0F ? 0.0F : 1.0F / sum, p.out.head(b, h) + query * p.out.row_stride, p.width,
                  p.is_aligned);
    if (p.lse != nullptr && fp32::thread_column() == 0)
      p.lse[static_cast<std::int64_t>(head) * p.num_queries + query] = softmax.log_sum(i, sum) * kLn2;
  }
}

template <int kWidth>
const Kernel forward_fp32_kernel(attention_forward_fp32<kWidth>, fp32::kThreads,
                                 ForwardFp32<kWidth>::kSharedBytes);

template <int kWidth>
void launch_attention_forward_fp32(const AttentionParameters<float>& p, const StreamState& stream) {
  constexpr int kQueries = ForwardFp32<kWidth>::kQueries;
  const std::int64_t blocks = (p.num_queries + kQueries - 1) / kQueries;
  forward_fp32_kernel<kWidth>.launch(blocks * p.num_heads * p.num_sequences, stream, p);
}

}  // namespace trireme::cuda
