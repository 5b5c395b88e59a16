// How the bf16 forward kernels cut rows and keys into tiles.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention/forward_bf16.h"
#include "kernels/cuda/attention/mask.cuh"
#include "kernels/cuda/attention/tensor_core.cuh"

namespace trireme::cuda {

// Two tiles: 128 rows, the queries of one head, and four warps; and, for a few queries, 16 rows and one warp,
// where the heads that share keys are side by side, so that keys are read once for all of them.
//
// The random numbers of dropout need registers, which the widest heads have not got for scores of 64 keys.
template <int kHeadWidth, bool kIsShort, bool kHasDropout>
struct ForwardTile {
  static constexpr int kWidth = kHeadWidth;
  static constexpr bool kPacksHeads = kIsShort;
  static constexpr bool kDropout = kHasDropout;
  static constexpr int kWarps = kIsShort ? 1 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kFragments = kIsShort ? 1 : 2;  // of 16 rows, of a warp
  static constexpr int kWarpRows = 16 * kFragments;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKeys = kDropout && kWidth >= 96 && !kIsShort ? 32 : 64;
  static constexpr int kSlots = 3;  // for tiles of keys or values

  using Queries = SharedTile<kRows, kWidth>;
  using Keys = SharedTile<kKeys, kWidth>;
  static constexpr int kSharedBytes = Queries::kBytes + kSlots * Keys::kBytes;

  // As many as there is room for in an A100's 164 KiB, of which each block takes 1 KiB for itself, and in its
  // registers.
  static constexpr int kBlocksByMemory = 164 * 1024 / (kSharedBytes + 1024);
  static constexpr int kBlocksByRegisters = kIsShort ? 8 : !kDropout && kWidth <= 64 ? 3 : 2;
  static constexpr int kBlocks = std::min(kBlocksByMemory, kBlocksByRegisters);
  static constexpr ForwardTileSize kSize = {kRows, kKeys, kWidth, kPacksHeads, kBlocks};
};

// Which queries and heads the rows of a block's tile are.
template <typename Tile>
class TileRows {
 public:
  __device__ TileRows(const AttentionParameters<Bfloat16>& p, const ForwardGrid& grid)
      : num_queries_(p.num_queries),
        heads_per_key_(Tile::kPacksHeads ? p.num_heads / p.num_kv_heads : 1),
        first_row_(
            fresh((grid.num_tiles - 1 - static_cast<int>(blockIdx.y) % grid.num_tiles) * Tile::kRows)) {}

  __device__ int sequence() const { return static_cast<int>(blockIdx.z); }
  __device__ int first_head() const { return static_cast<int>(blockIdx.x) * heads_per_key_; }
  __device__ int head(int row) const {
    return Tile::kPacksHeads ? first_head() + (first_row_ + row) % heads_per_key_ : first_head();
  }
  // At least the number of queries, if the row isn't there.
  __device__ int query(int row) const {
    return Tile::kPacksHeads ? (first_row_ + row) / heads_per_key_ : first_row_ + row;
  }
  __device__ bool is_there(int row) const { return row < num_rows(); }
  // Of those that are there, from the tile's first on; more than the tile has if others follow.
  __device__ int num_rows() const { return num_queries_ * heads_per_key_ - first_row_; }
  // Of rows [begin, end), those that are there.
  __device__ Range queries(int begin, int end) const {
    return {query(begin), min(query(end - 1) + 1, num_queries_)};
  }

 private:
  int num_queries_, heads_per_key_, first_row_;
};

}  // namespace trireme::cuda
