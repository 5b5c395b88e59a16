// Attention forward in bf16 on tensor cores, as FlashAttention-2 does it (Dao 2023): a block of threads walks
// over the keys that its tile of rows sees.
//
// Shared memory holds the rows' queries (in the end their out), and three slots through which tiles of keys
// and of values pass in turn: while one is multiplied, the two after it are on their way.
#pragma once

#include "kernels/cuda/attention/forward_bf16.h"
#include "kernels/cuda/attention/forward_tile.cuh"
#include "kernels/cuda/attention/forward_warp.cuh"
#include "kernels/cuda/attention/row_copy.cuh"
#include "kernels/cuda/kernel.h"

namespace trireme::cuda {

// The tiles of keys [begin, end) that are the block's: of those that its rows see, its split's share.
template <typename Tile>
__device__ Range tiles_of_keys(const AttentionParameters<Bfloat16>& p, const ForwardGrid& grid,
                               const TileRows<Tile>& rows) {
  const Mask mask(p, rows.sequence(), rows.first_head());
  const Range queries = rows.queries(0, Tile::kRows);
  const Range keys = mask.keys_of_documents(queries, mask.keys_of(queries));
  if (keys.end <= keys.begin) return {0, 0};
  const int begin = keys.begin / Tile::kKeys, end = (keys.end + Tile::kKeys - 1) / Tile::kKeys;
  const int share = (end - begin + grid.num_splits - 1) / grid.num_splits;
  const int first = begin + static_cast<int>(blockIdx.y) / grid.num_tiles * share;
  return {min(first, end), min(first + share, end)};
}

template <typename Tile>
__device__ void copy_queries(unsigned to, const AttentionParameters<Bfloat16>& p,
                             const TileRows<Tile>& rows) {
  const Bfloat16* const first = p.q.head(rows.sequence(), 0);
  copy_rows<typename Tile::Queries, Tile::kThreads>(to, rows.num_rows(), p.width, p.is_aligned, [&](int row) {
    return first + rows.query(row) * p.q.row_stride + rows.head(row) * p.q.head_stride;
  });
}

// Keys or values, from a key on.
template <typename Tile>
__device__ void copy_keys(unsigned to, const AttentionParameters<Bfloat16>& p,
                          const HeadRows<const Bfloat16>& x, int sequence, int head, int first_key) {
  // Pointers and strides aren't kept in registers from one tile to the next.
  const std::int64_t stride = fresh(x.row_stride);
  const Bfloat16* const first = x.head(sequence, fresh(head)) + first_key * stride;
  copy_rows<typename Tile::Keys, Tile::kThreads>(to, p.num_keys - first_key, p.width, p.is_aligned,
                                                 [&](int row) { return first + row * stride; });
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    attention_forward_bf16(AttentionParameters<Bfloat16> p, ForwardGrid grid) {
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned queries = shared_address(shared), slots = queries + Tile::Queries::kBytes;

  const TileRows<Tile> rows(p, grid);
  const Range tiles = tiles_of_keys(p, grid, rows);
  const int kv_head = rows.first_head() / (p.num_heads / p.num_kv_heads);
  const auto copy = [&](unsigned to, const HeadRows<const Bfloat16>& x, int tile) {
    copy_keys<Tile>(to, p, x, rows.sequence(), kv_head, tile * Tile::kKeys);
  };
  if (tiles.begin < tiles.end) {
    copy_queries(queries, p, rows);
    copy(slots, p.k, tiles.begin);
    commit_copies();
    copy(slots + Tile::Keys::kBytes, p.v, tiles.begin);
    commit_copies();
  }

  ForwardWarp<Tile> warp(p, rows);
  unsigned slot = 0;
  // Waits for a tile of keys or values; then everybody has done with the one before, and the one of the same
  // kind that comes after it is sent for.
  const auto go_on = [&](const HeadRows<const Bfloat16>& x, int next_tile) {
    constexpr unsigned kLast = 2 * Tile::Keys::kBytes;
    wait_for_copies<1>();
    __syncthreads();
    const unsigned free_slot = slots + (slot == 0 ? kLast : slot - Tile::Keys::kBytes);
    if (next_tile < tiles.end) copy(free_slot, x, next_tile);
    commit_copies();  // an empty group counts, too
    const unsigned next = slots + slot;
    slot = slot == kLast ? 0 : slot + Tile::Keys::kBytes;
    return next;
  };
  for (int tile = tiles.begin; tile < tiles.end; ++tile) {
    const Sight sight = warp.sight(tile * Tile::kKeys);
    const unsigned key_tile = go_on(p.k, tile + 1);
    if (sight != Sight::kNone) warp.see_keys(queries, key_tile, tile * Tile::kKeys, sight);
    const unsigned value_tile = go_on(p.v, tile + 1);
    if (sight != Sight::kNone) warp.add_values(value_tile);
  }

  if (grid.num_splits > 1) {
    warp.write_split(grid);
  } else {
    warp.write(shared);  // over queries, which were last read before the last barrier
  }
}

template <typename Tile>
const Kernel forward_bf16_kernel(attention_forward_bf16<Tile>, Tile::kThreads, Tile::kSharedBytes);

template <typename Tile>
void launch_forward_tile(const AttentionParameters<Bfloat16>& p, StreamState& stream) {
  const ForwardGrid grid = plan_forward(p, Tile::kSize, stream);
  const dim3 blocks(static_cast<unsigned>(Tile::kPacksHeads ? p.num_kv_heads : p.num_heads),
                    static_cast<unsigned>(grid.num_tiles * grid.num_splits),
                    static_cast<unsigned>(p.num_sequences));
  forward_bf16_kernel<Tile>.launch(blocks, stream, p, grid);
  if (grid.num_splits > 1) launch_forward_combine(p, grid, Tile::kWidth, stream);
}

template <int kWidth>
void launch_forward_bf16(const AttentionParameters<Bfloat16>& p, StreamState& stream) {
  const bool is_short = p.num_queries <= kMaxShortQueries, has_dropout = p.dropout_threshold > 0;
  if (is_short && has_dropout) {
    launch_forward_tile<ForwardTile<kWidth, true, true>>(p, stream);
  } else if (is_short) {
    launch_forward_tile<ForwardTile<kWidth, true, false>>(p, stream);
  } else if (has_dropout) {
    launch_forward_tile<ForwardTile<kWidth, false, true>>(p, stream);
  } else {
    launch_forward_tile<ForwardTile<kWidth, false, false>>(p, stream);
  }
}

}  // namespace trireme::cuda
