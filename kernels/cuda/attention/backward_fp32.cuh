// The gradient of attention in fp32: dk and dv by a block of threads for a block of keys, then dq by one for
// a block of queries.  Each recomputes the probabilities; nothing is added up in memory, so results are the
// same each time.
#pragma once

#include <cmath>

#include "kernels/cuda/attention/fp32_scores.cuh"
#include "kernels/cuda/attention/launch_fp32.h"
#include "kernels/cuda/kernel.h"

namespace trireme::cuda {

template <int kQueries_, int kKeys_, int kWidth>
struct BackwardFp32 {
  static constexpr int kQueries = kQueries_;
  static constexpr int kKeys = kKeys_;
  using QueryTile = fp32::Tile<kQueries, kWidth>;  // of q and dout
  using KeyTile = fp32::Tile<kKeys, kWidth>;       // of k and v
  using ScoreTile = fp32::Tile<kQueries, kKeys>;
  // Scores of a thread.
  static constexpr int kI = kQueries / fp32::kThreadRows;
  static constexpr int kJ = kKeys / fp32::kThreadColumns;
};

template <int kWidth>
struct KeyGradientFp32 : BackwardFp32<32, kWidth <= 64 ? 64 : 32, kWidth> {
  using Base = BackwardFp32<32, kWidth <= 64 ? 64 : 32, kWidth>;
  static constexpr int kSharedBytes =
      (2 * Base::QueryTile::kFloats + 2 * Base::KeyTile::kFloats + 2 * Base::ScoreTile::kFloats) * 4;
};

template <int kWidth>
struct QueryGradientFp32 : BackwardFp32<kWidth <= 64 ? 64 : 32, 32, kWidth> {
  using Base = BackwardFp32<kWidth <= 64 ? 64 : 32, 32, kWidth>;
  static constexpr int kSharedBytes =
      (2 * Base::QueryTile::kFloats + 2 * Base::KeyTile::kFloats + Base::ScoreTile::kFloats) * 4;
};

// What is known of a thread's queries.
template <int kI>
struct QueriesFp32 {
  float log_sum[kI];  // in units of log 2; infinity where all probabilities are 0
  float delta[kI];

  __device__ void load(const AttentionParameters<float>& p, const float* all_delta, int head, Range queries) {
#pragma unroll
    for (int i = 0; i < kI; ++i) {
      const int query = queries.begin + fp32::row_of(i);
      log_sum[i] = INFINITY;
      delta[i] = 0.0F;
      if (query >= queries.end) continue;
      const std::int64_t place = static_cast<std::int64_t>(head) * p.num_queries + query;
      const float lse = p.lse[place];
      if (lse != -INFINITY) log_sum[i] = lse * kLog2E;
      delta[i] = all_delta[place];
    }
  }
};

// From products q k^T and dout v^T of a block: the probabilities after dropout, and the gradient of the
// scores (before they are scaled).
template <int kI, int kJ>
__device__ void differentiate_softmax(float (&p)[kI][kJ], float (&ds)[kI][kJ],
                                      const AttentionParameters<float>& parameters, const Mask& mask,
                                      const ProbabilityDropout& dropout, const QueriesFp32<kI>& of_queries,
                                      Range queries, Range keys, bool is_whole) {
  fp32::weigh(p, parameters, mask, queries, keys, is_whole);
#pragma unroll
  for (int i = 0; i < kI; ++i) {
    float factors[kJ];
    if (parameters.dropout_threshold > 0) {
      fp32::find_factors(factors, dropout, queries.begin + fp32::row_of(i), keys);
    } else {
#pragma unroll
      for (int j = 0; j < kJ; ++j) factors[j] = 1.0F;
    }
#pragma unroll
    for (int j = 0; j < kJ; ++j) {
      const float probability = exp2_fast(p[i][j] - of_queries.log_sum[i]);
      ds[i][j] = probability * fmaf(ds[i][j], factors[j], -of_queries.delta[i]);
      p[i][j] = probability * factors[j];
    }
  }
}

template <int kWidth>
__global__ void __launch_bounds__(fp32::kThreads,
                                  fp32::blocks_per_multiprocessor(KeyGradientFp32<kWidth>::kSharedBytes))
    attention_key_gradient_fp32(const __grid_constant__ AttentionParameters<float> p,
                                const float* __restrict__ delta) {
  using Sizes = KeyGradientFp32<kWidth>;
  using QueryTile = typename Sizes::QueryTile;
  using KeyTile = typename Sizes::KeyTile;
  using ScoreTile = typename Sizes::ScoreTile;
  extern __shared__ __align__(16) float shared[];
  float* const k_tile = shared;
  float* const v_tile = k_tile + KeyTile::kFloats;
  float* const q_tile = v_tile + KeyTile::kFloats;
  float* const dout_tile = q_tile + QueryTile::kFloats;
  float* const p_tile = dout_tile + QueryTile::kFloats;
  float* const ds_tile = p_tile + ScoreTile::kFloats;

  const int num_blocks = (p.num_keys + Sizes::kKeys - 1) / Sizes::kKeys;
  const int kv_head = static_cast<int>(blockIdx.x) / num_blocks;  // of all sequences
  const int first = static_cast<int>(blockIdx.x) % num_blocks * Sizes::kKeys;
  const int b = kv_head / p.num_kv_heads, kv = kv_head % p.num_kv_heads;
  const int heads_per_kv = p.num_heads / p.num_kv_heads;
  const Range keys = {first, min(first + Sizes::kKeys, p.num_keys)};
  const bool are_whole = keys.end - keys.begin == Sizes::kKeys;

  fp32::start_copy<KeyTile, fp32::KeyOrder>(k_tile, p.k.head(b, kv), p.k.row_stride, first, p.num_keys,
                                            p.width, p.is_aligned);
  fp32::start_copy<KeyTile, fp32::KeyOrder>(v_tile, p.v.head(b, kv), p.v.row_stride, first, p.num_keys,
                                            p.width, p.is_aligned);
  fp32::Accumulator<Sizes::kKeys, kWidth> dk, dv;

  for (int h = kv * heads_per_kv; h < (kv + 1) * heads_per_kv; ++h) {
    const Mask mask(p, b, h);
    const ProbabilityDropout dropout(p, b, h);
    for (fp32::SeeingQueries<Sizes::kQueries> queries(mask, keys, p.num_queries); queries;
         queries.advance()) {
      const Range block = queries.block();
      fp32::start_copy<QueryTile>(q_tile, p.q.head(b, h), p.q.row_stride, block.begin, p.num_queries, p.width,
                                  p.is_aligned);
      fp32::start_copy<QueryTile>(dout_tile, p.dout.head(b, h), p.dout.row_stride, block.begin, p.num_queries,
                                  p.width, p.is_aligned);
      commit_copies();
      QueriesFp32<Sizes::kI> of_queries;
      of_queries.load(p, delta, b * p.num_heads + h, block);
      wait_for_copies<0>();
      __syncthreads();
      float probabilities[Sizes::kI][Sizes::kJ], dscores[Sizes::kI][Sizes::kJ];
      fp32::multiply_rows<QueryTile, KeyTile>(probabilities, q_tile, k_tile);
      fp32::multiply_rows<QueryTile, KeyTile>(dscores, dout_tile, v_tile);
      differentiate_softmax(probabilities, dscores, p, mask, dropout, of_queries, block, keys,
                            queries.is_whole() && are_whole);
      fp32::store<ScoreTile>(p_tile, probabilities);
      fp32::store<ScoreTile>(ds_tile, dscores);
      __syncthreads();
      dv.template add_product_of_transpose<ScoreTile, QueryTile>(p_tile, dout_tile);
      dk.template add_product_of_transpose<ScoreTile, QueryTile>(ds_tile, q_tile);
      __syncthreads();
    }
  }
  wait_for_copies<0>();  // of keys that nobody sees

  constexpr int kRowsOfThread = Sizes::kKeys / fp32::kThreadRows;
#pragma unroll
  for (int i = 0; i < kRowsOfThread; ++i) {
    const int key = first + fp32::thread_row() * kRowsOfThread + i;
    if (key >= keys.end) continue;
    dk.store_row(i, p.scale * kLn2, p.dk.head(b, kv) + key * p.dk.row_stride, p.width, p.is_aligned);
    dv.store_row(i, 1.0F, p.dv.head(b, kv) + key * p.dv.row_stride, p.width, p.is_aligned);
  }
}

template <int kWidth>
__global__ void __launch_bounds__(fp32::kThreads,
                                  fp32::blocks_per_multiprocessor(QueryGradientFp32<kWidth>::kSharedBytes))
    attention_query_gradient_fp32(const __grid_constant__ AttentionParameters<float> p,
                                  const float* __restrict__ delta) {
  using Sizes = QueryGradientFp32<kWidth>;
  using QueryTile = typename Sizes::QueryTile;
  using KeyTile = typename Sizes::KeyTile;
  using ScoreTile = typename Sizes::ScoreTile;
  extern __shared__ __align__(16) float shared[];
  float* const q_tile = shared;
  float* const dout_tile = q_tile + QueryTile::kFloats;
  float* const k_tile = dout_tile + QueryTile::kFloats;
  float* const v_tile = k_tile + KeyTile::kFloats;
  float* const ds_tile = v_tile + KeyTile::kFloats;

  // The last queries see most keys: they come first.
  const int num_blocks = (p.num_queries + Sizes::kQueries - 1) / Sizes::kQueries;
  const int head = static_cast<int>(blockIdx.x) / num_blocks;  // of all sequences
  const int first = (num_blocks - 1 - static_cast<int>(blockIdx.x) % num_blocks) * Sizes::kQueries;
  const int b = head / p.num_heads, h = head % p.num_heads;
  const int kv = h / (p.num_heads / p.num_kv_heads);
  const Range queries = {first, min(first + Sizes::kQueries, p.num_queries)};
  const Mask mask(p, b, h);
  const ProbabilityDropout dropout(p, b, h);

  fp32::start_copy<QueryTile>(q_tile, p.q.head(b, h), p.q.row_stride, first, p.num_queries, p.width,
                              p.is_aligned);
  fp32::start_copy<QueryTile>(dout_tile, p.dout.head(b, h), p.dout.row_stride, first, p.num_queries, p.width,
                              p.is_aligned);
  QueriesFp32<Sizes::kI> of_queries;
  of_queries.load(p, delta, head, queries);
  fp32::Accumulator<Sizes::kQueries, kWidth> dq;

  for (fp32::SeenKeys<Sizes::kKeys> keys(mask, queries, p.num_keys); keys; keys.advance()) {
    const Range block = keys.block();
    fp32::start_copy<KeyTile, fp32::KeyOrder>(k_tile, p.k.head(b, kv), p.k.row_stride, block.begin,
                                              p.num_keys, p.width, p.is_aligned);
    fp32::start_copy<KeyTile, fp32::KeyOrder>(v_tile, p.v.head(b, kv), p.v.row_stride, block.begin,
                                              p.num_keys, p.width, p.is_aligned);
    commit_copies();
    wait_for_copies<0>();
    __syncthreads();
    float probabilities[Sizes::kI][Sizes::kJ], dscores[Sizes::kI][Sizes::kJ];
    fp32::multiply_rows<QueryTile, KeyTile>(probabilities, q_tile, k_tile);
    fp32::multiply_rows<QueryTile, KeyTile>(dscores, dout_tile, v_tile);
    differentiate_softmax(probabilities, dscores, p, mask, dropout, of_queries, queries, block,
                          keys.is_whole());
    // A warp reads the rows that it has written.
    fp32::store<ScoreTile>(ds_tile, dscores);
    __syncwarp();
    dq.template add_product<ScoreTile, KeyTile, fp32::KeyOrder>(ds_tile, k_tile);
    __syncthreads();
  }
  wait_for_copies<0>();  // of queries that see nothing

#pragma unroll
  for (int i = 0; i < Sizes::kI; ++i) {
    const int query = first + fp32::row_of(i);
    if (query >= queries.end) continue;
    dq.store_row(i, p.scale * kLn2, p.dq.head(b, h) + query * p.dq.row_stride, p.width, p.is_aligned);
  }
}

template <int kWidth>
const Kernel key_gradient_fp32_kernel(attention_key_gradient_fp32<kWidth>, fp32::kThreads,
                                      KeyGradientFp32<kWidth>::kSharedBytes);
template <int kWidth>
const Kernel query_gradient_fp32_kernel(attention_query_gradient_fp32<kWidth>, fp32::kThreads,
                                        QueryGradientFp32<kWidth>::kSharedBytes);

template <int kWidth>
void launch_attention_backward_fp32(const AttentionParameters<float>& p, const float* delta,
                                    const StreamState& stream) {
  constexpr int kKeys = KeyGradientFp32<kWidth>::kKeys;
  constexpr int kQueries = QueryGradientFp32<kWidth>::kQueries;
  const std::int64_t key_blocks = (p.num_keys + kKeys - 1) / kKeys;
  const std::int64_t query_blocks = (p.num_queries + kQueries - 1) / kQueries;
  key_gradient_fp32_kernel<kWidth>.launch(key_blocks * p.num_kv_heads * p.num_sequences, stream, p, delta);
  query_gradient_fp32_kernel<kWidth>.launch(query_blocks * p.num_heads * p.num_sequences, stream, p, delta);
}

}  // namespace trireme::cuda
