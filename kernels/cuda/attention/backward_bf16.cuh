// The gradients of attention in bf16, on tensor cores, in the manner of FlashAttention-2 (Dao 2023).
//
// A block of threads has a block of keys: k and v stay in shared memory, and the sums of dk and dv in
// registers, while the queries that see the keys pass by, of all heads that share them.  What a block of
// queries adds to dq goes to float sums in memory, by atomics, whose order changes from run to run.  If it
// must not, dq is computed by blocks of queries, past which keys go: that is 7 products instead of 5, but
// needs no memory for sums.
#pragma once

#include <type_traits>

#include "kernels/cuda/attention/backward_bf16.h"
#include "kernels/cuda/attention/backward_rows.cuh"
#include "kernels/cuda/attention/backward_scores.cuh"
#include "kernels/cuda/kernel.h"

namespace trireme::cuda {

// Up to 64 columns a warp can hold all of its 32 keys' dk and dv; blocks are of four warps, and a
// multiprocessor has room for two (an A100, with 64 columns, to the byte).  Otherwise two warps share 32
// keys, and a block of eight has the multiprocessor for itself.
template <int kWidth>
using KeyGradientTile = std::conditional_t<kWidth <= 64, BackwardTile<kWidth, 64, 128, 1, 2>,
                                           BackwardTile<kWidth, 64, 128, 2, kWidth == 128 ? 4 : 2>>;
template <int kWidth>
using QueryGradientTile =
    std::conditional_t<kWidth <= 64, BackwardTile<kWidth, 64, 64, 2, 2>, BackwardTile<kWidth, 128, 64, 4, 2>>;

// Copies of a block of queries: q, dout, statistics.
template <typename Tile>
struct QueryStage {
  static constexpr int kBytes = 2 * Tile::Queries::kBytes + Tile::kQueries * static_cast<int>(sizeof(float2));

  unsigned char* const q;
  unsigned char* const dout = q + Tile::Queries::kBytes;
  float2* const statistics = reinterpret_cast<float2*>(dout + Tile::Queries::kBytes);

  __device__ void load(const AttentionParameters<Bfloat16>& p, const BackwardScratch& scratch, int b, int h,
                       int first) const {
    using Queries = typename Tile::Queries;
    load_rows<Queries, Tile::kThreads>(q, p.q.head(b, h), p.q.row_stride, first, p.num_queries, p.width,
                                       p.is_aligned);
    load_rows<Queries, Tile::kThreads>(dout, p.dout.head(b, h), p.dout.row_stride, first, p.num_queries,
                                       p.width, p.is_aligned);
    if (static_cast<int>(threadIdx.x) < Tile::kQueries / 2) {
      const float2* const from = scratch.statistics + scratch.first_row(p, b, h) + first;
      copy_async(shared_address(statistics + 2 * threadIdx.x), from + 2 * threadIdx.x, true);
    }
  }
};

// Copies of a block of keys: k and v.
template <typename Tile>
struct KeyStage {
  static constexpr int kBytes = 2 * Tile::Keys::kBytes;

  unsigned char* const k;
  unsigned char* const v = k + Tile::Keys::kBytes;

  __device__ void load(const AttentionParameters<Bfloat16>& p, int b, int kv_head, int first) const {
    using Keys = typename Tile::Keys;
    load_rows<Keys, Tile::kThreads>(k, p.k.head(b, kv_head), p.k.row_stride, first, p.num_keys, p.width,
                                    p.is_aligned);
    load_rows<Keys, Tile::kThreads>(v, p.v.head(b, kv_head), p.v.row_stride, first, p.num_keys, p.width,
                                    p.is_aligned);
  }
};

// A block of keys, and the blocks of queries that may see it.  Computed anew wherever it is needed: registers
// are dearer.
template <typename Tile>
struct KeyBlock {
  const AttentionParameters<Bfloat16>& p;

  __device__ static int sequence() { return block_z(); }
  __device__ static int kv_head() { return block_y(); }
  __device__ static int first() { return block_x() * Tile::kKeys; }
  __device__ Range keys() const { return {first(), min(first() + Tile::kKeys, p.num_keys)}; }
  __device__ Range heads() const {
    const int group = p.num_heads / p.num_kv_heads;
    return {kv_head() * group, (kv_head() + 1) * group};
  }
  __device__ Range others() const {
    const Mask mask(p, sequence(), 0);
    const Range seen = mask.queries_of_documents(keys(), mask.queries_of(keys()));
    return {seen.begin / Tile::kQueries, (seen.end + Tile::kQueries - 1) / Tile::kQueries};
  }
  __device__ Sight sight(int other) const {
    const int query = other * Tile::kQueries;
    const Sight sight =
        Mask(p, sequence(), 0).sight({query, min(query + Tile::kQueries, p.num_queries)}, keys());
    return sight == Sight::kAll && first() + Tile::kKeys > p.num_keys ? Sight::kSome : sight;
  }
};

// A block of queries, and the blocks of keys that it may see.  The last queries see most: they begin.
template <typename Tile>
struct QueryBlock {
  const AttentionParameters<Bfloat16>& p;

  __device__ static int sequence() { return block_z(); }
  __device__ static int head() { return block_y(); }
  __device__ int kv_head() const { return head() / (p.num_heads / p.num_kv_heads); }
  __device__ static int first() { return (static_cast<int>(gridDim.x) - 1 - block_x()) * Tile::kQueries; }
  __device__ Range queries() const { return {first(), min(first() + Tile::kQueries, p.num_queries)}; }
  __device__ Range heads() const { return {head(), head() + 1}; }
  __device__ Range others() const {
    const Mask mask(p, sequence(), 0);
    const Range seen = mask.keys_of_documents(queries(), mask.keys_of(queries()));
    return {seen.begin / Tile::kKeys, (seen.end + Tile::kKeys - 1) / Tile::kKeys};
  }
  __device__ Sight sight(int other) const {
    const int key = other * Tile::kKeys;
    const Sight sight = Mask(p, sequence(), 0).sight(queries(), {key, min(key + Tile::kKeys, p.num_keys)});
    return sight == Sight::kAll && key + Tile::kKeys > p.num_keys ? Sight::kSome : sight;
  }
};

// The way of a block past the others, head by head; those of no sight are left out.
template <typename Block>
class BlockWalk {
 public:
  __device__ explicit BlockWalk(Block block) : block_(block) {
    const Range others = block.others();
    head = others.begin < others.end ? block.heads().begin : block.heads().end;
    other = others.begin;
    end_ = others.end;
    skip();
  }

  int head, other;
  bool is_masked = false;  // whether some see each other, and some don't

  __device__ bool is_there() const { return head < block_.heads().end; }
  __device__ void advance() {
    step();
    skip();
  }

 private:
  __device__ void step() {
    if (++other < end_) return;
    other = block_.others().begin;
    ++head;
  }
  __device__ void skip() {
    for (; is_there(); step()) {
      const Sight sight = block_.sight(other);
      is_masked = sight == Sight::kSome;
      if (sight != Sight::kNone) return;
    }
  }

  Block block_;
  int end_;  // of the others
};

// dk and dv, and the sums of dq if there are any.  Grid: blocks of keys, key/value heads, sequences.
template <int kWidth, bool kDropout>
__global__ void __launch_bounds__(KeyGradientTile<kWidth>::kThreads)
    attention_key_gradient_bf16(const AttentionParameters<Bfloat16> p, const BackwardScratch scratch) {
  using Tile = KeyGradientTile<kWidth>;
  // Whether a warp has the scores of its keys with all of the queries, and so needs no other's.
  constexpr bool kOwnsKeys = Tile::kQueryWarps == 1;
  constexpr int kColumnStep = 16 * Tile::kQueryWarps;  // of dk and dv
  using Scores = typename Tile::Scores;
  using RightQueries = Pieces<typename Tile::Queries, As::kRight>;
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* const dscores = shared;
  unsigned char* const probabilities = dscores + Scores::kBytes;
  const KeyStage<Tile> keys{probabilities + (kOwnsKeys ? 0 : Scores::kBytes)};
  unsigned char* const stages = keys.k + KeyStage<Tile>::kBytes;
  const auto query_stage = [&](int i) { return QueryStage<Tile>{stages + i * QueryStage<Tile>::kBytes}; };

  const KeyBlock<Tile> block{p};
  BlockWalk walk(block);
  constexpr int kColumns = kWidth / Tile::kQueryWarps;  // of a warp
  float dk[2][kColumns / 8][4], dv[2][kColumns / 8][4];
  clear(dk);
  clear(dv);
  keys.load(p, block.sequence(), block.kv_head(), block.first());
  if (walk.is_there())
    query_stage(0).load(p, scratch, block.sequence(), walk.head, walk.other * Tile::kQueries);
  commit_copies();
  int stage = 0;
  while (walk.is_there()) {
    const int head = walk.head, other = walk.other;
    const bool is_masked = walk.is_masked;
    walk.advance();
    wait_for_copies<0>();
    __syncthreads();
    if (walk.is_there())
      query_stage(1 - stage).load(p, scratch, block.sequence(), walk.head, walk.other * Tile::kQueries);
    commit_copies();

    const QueryStage<Tile> queries = query_stage(stage);
    const BackwardOperands operands = {queries.q, queries.dout, keys.k, keys.v, queries.statistics};
    // As many times as a warp has 32 queries.
#pragma unroll 1
    for (int part = 0; part < Tile::kQueries / 32; part += Tile::kQueryWarps) {
      const int query_warp = Tile::query_warp();
      const int key = 32 * Tile::key_warp(), query = 32 * (part + query_warp);
      const ScoreCorner corner = {key, query, block.first() + key, other * Tile::kQueries + query};
      ScorePieces p_pieces, ds_pieces;
      recompute_scores<Tile, kDropout>(p_pieces, ds_pieces, operands, corner, is_masked, block.sequence(),
                                       head, p);
      ds_pieces.template store<Scores>(dscores, key, query);
      if constexpr (!kOwnsKeys) p_pieces.template store<Scores>(probabilities, key, query);
      multiply<32, kColumnStep>(dv, p_pieces, RightQueries(queries.dout, query, 16 * query_warp));
      multiply<32, kColumnStep>(dk, ds_pieces, RightQueries(queries.q, query, 16 * query_warp));
    }
    __syncthreads();
    if constexpr (!kOwnsKeys) {
      static_assert(Tile::kQueries == 64 && Tile::kQueryWarps == 2);
      const int query_warp = Tile::query_warp();
      const int key = 32 * Tile::key_warp(), query = 32 * (1 - query_warp);
      using LeftScores = Pieces<Scores, As::kLeft>;
      multiply<32, kColumnStep>(dv, LeftScores(probabilities, key, query),
                                RightQueries(queries.dout, query, 16 * query_warp));
      multiply<32, kColumnStep>(dk, LeftScores(dscores, key, query),
                                RightQueries(queries.q, query, 16 * query_warp));
    }
    if (!p.is_deterministic) {
      using Place = QueryGradientPlace<Tile>;
      const Place place;
      typename Tile::QueryGradient dq;
      clear(dq);
      multiply<Tile::kKeys, Place::kColumnStep>(
          dq, Pieces<Scores, As::kLeftTransposed>(dscores, 0, place.row),
          Pieces<typename Tile::Keys, As::kRight>(keys.k, 0, place.column));
      add_query_gradient<Tile>(query_gradient_sums<Tile>(scratch, p, block.sequence(), head, other), dq);
    }
    stage = 1 - stage;
  }

  wait_for_copies<0>();
  __syncthreads();
  using Keys = typename Tile::Keys;
  const int key = 32 * Tile::key_warp(), column = 16 * Tile::query_warp();
  store_product<Keys, kColumnStep>(keys.k, key, column, dk, p.scale * kLn2);
  store_product<Keys, kColumnStep>(keys.v, key, column, dv, p.dropout_scale);
  __syncthreads();
  store_rows<Keys, Tile::kThreads>(keys.k, p.dk.head(block.sequence(), block.kv_head()), p.dk.row_stride,
                                   block.first(), p.num_keys, p.width, p.is_aligned);
  store_rows<Keys, Tile::kThreads>(keys.v, p.dv.head(block.sequence(), block.kv_head()), p.dv.row_stride,
                                   block.first(), p.num_keys, p.width, p.is_aligned);
}

// dq, the same bits every time.  Grid: blocks of queries, heads, sequences.
template <int kWidth, bool kDropout>
__global__ void __launch_bounds__(QueryGradientTile<kWidth>::kThreads)
    attention_query_gradient_bf16(const AttentionParameters<Bfloat16> p, const BackwardScratch scratch) {
  using Tile = QueryGradientTile<kWidth>;
  using Scores = typename Tile::Scores;
  using Queries = typename Tile::Queries;
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* const dscores = shared;
  const QueryStage<Tile> queries{dscores + Scores::kBytes};
  unsigned char* const stages = queries.q + QueryStage<Tile>::kBytes;
  const auto key_stage = [&](int i) { return KeyStage<Tile>{stages + i * KeyStage<Tile>::kBytes}; };

  const QueryBlock<Tile> block{p};
  BlockWalk walk(block);
  using Place = QueryGradientPlace<Tile>;
  const Place place;
  typename Tile::QueryGradient dq;
  clear(dq);
  queries.load(p, scratch, block.sequence(), block.head(), block.first());
  if (walk.is_there()) key_stage(0).load(p, block.sequence(), block.kv_head(), walk.other * Tile::kKeys);
  commit_copies();
  int stage = 0;
  while (walk.is_there()) {
    const int first_key = walk.other * Tile::kKeys;
    const bool is_masked = walk.is_masked;
    walk.advance();
    wait_for_copies<0>();
    __syncthreads();
    if (walk.is_there())
      key_stage(1 - stage).load(p, block.sequence(), block.kv_head(), walk.other * Tile::kKeys);
    commit_copies();

    const KeyStage<Tile> keys = key_stage(stage);
    const BackwardOperands operands = {queries.q, queries.dout, keys.k, keys.v, queries.statistics};
    const int key = 32 * Tile::key_warp(), query = 32 * Tile::query_warp();
    const ScoreCorner corner = {key, query, first_key + key, block.first() + query};
    ScorePieces p_pieces, ds_pieces;
    recompute_scores<Tile, kDropout>(p_pieces, ds_pieces, operands, corner, is_masked, block.sequence(),
                                     block.head(), p);
    ds_pieces.template store<Scores>(dscores, key, query);
    __syncthreads();
    multiply<Tile::kKeys, Place::kColumnStep>(
        dq, Pieces<Scores, As::kLeftTransposed>(dscores, 0, place.row),
        Pieces<typename Tile::Keys, As::kRight>(keys.k, 0, place.column));
    stage = 1 - stage;
  }

  wait_for_copies<0>();
  __syncthreads();
  store_product<Queries, Place::kColumnStep>(queries.q, place.row, place.column, dq, p.scale * kLn2);
  __syncthreads();
  store_rows<Queries, Tile::kThreads>(queries.q, p.dq.head(block.sequence(), block.head()), p.dq.row_stride,
                                      block.first(), p.num_queries, p.width, p.is_aligned);
}

template <typename Tile>
constexpr int kKeyGradientBytes =
    Tile::Scores::kBytes*(Tile::kQueryWarps == 1 ? 1 : 2) + KeyStage<Tile>::kBytes +
    2 * QueryStage<Tile>::kBytes;
template <typename Tile>
constexpr int kQueryGradientBytes =
    Tile::Scores::kBytes + QueryStage<Tile>::kBytes + 2 * KeyStage<Tile>::kBytes;

template <int kWidth>
const Kernel statistics_bf16_kernel(attention_statistics_bf16<kWidth>, kStatisticsThreads);
template <int kWidth, bool kDropout>
const Kernel key_gradient_bf16_kernel(attention_key_gradient_bf16<kWidth, kDropout>,
                                      KeyGradientTile<kWidth>::kThreads,
                                      kKeyGradientBytes<KeyGradientTile<kWidth>>);
template <int kWidth, bool kDropout>
const Kernel query_gradient_bf16_kernel(attention_query_gradient_bf16<kWidth, kDropout>,
                                        QueryGradientTile<kWidth>::kThreads,
                                        kQueryGradientBytes<QueryGradientTile<kWidth>>);
template <typename Tile>
const Kernel convert_dq_bf16_kernel(attention_convert_dq_bf16<Tile>, Tile::kThreads);

template <int kWidth, bool kDropout>
void launch_backward(const AttentionParameters<Bfloat16>& p, const BackwardScratch& scratch,
                     const StreamState& stream) {
  using KeyTile = KeyGradientTile<kWidth>;
  const auto blocks = [&](int size, int of, int heads) {
    return dim3(static_cast<unsigned>((size + of - 1) / of), static_cast<unsigned>(heads),
                static_cast<unsigned>(p.num_sequences));
  };
  statistics_bf16_kernel<kWidth>.launch(blocks(scratch.num_rows, 64, p.num_heads), stream, p, scratch);
  key_gradient_bf16_kernel<kWidth, kDropout>.launch(blocks(p.num_keys, KeyTile::kKeys, p.num_kv_heads),
                                                    stream, p, scratch);
  if (p.is_deterministic) {
    query_gradient_bf16_kernel<kWidth, kDropout>.launch(
        blocks(p.num_queries, QueryGradientTile<kWidth>::kQueries, p.num_heads), stream, p, scratch);
  } else {
    convert_dq_bf16_kernel<KeyTile>.launch(blocks(p.num_queries, KeyTile::kQueries, p.num_heads), stream, p,
                                           scratch);
  }
}

template <int kWidth>
void launch_backward_bf16(const AttentionParameters<Bfloat16>& p, StreamState& stream) {
  BackwardScratch scratch;
  scratch.num_rows = (p.num_queries + 127) / 128 * 128;
  const std::int64_t num_rows = std::int64_t{p.num_sequences} * p.num_heads * scratch.num_rows;
  const std::int64_t row_bytes = sizeof(float2) + (p.is_deterministic ? 0 : kWidth * sizeof(float));
  auto* const bytes = static_cast<std::byte*>(stream.scratch(num_rows * row_bytes));
  scratch.statistics = reinterpret_cast<float2*>(bytes);
  if (!p.is_deterministic)
    scratch.dq = reinterpret_cast<float*>(bytes + num_rows * static_cast<std::int64_t>(sizeof(float2)));
  if (p.dropout_threshold > 0) {
    launch_backward<kWidth, true>(p, scratch, stream);
  } else {
    launch_backward<kWidth, false>(p, scratch, stream);
  }
}

}  // namespace trireme::cuda
