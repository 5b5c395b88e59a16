// The bf16 forward kernels: how their work is cut, and who launches them.
#pragma once

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/dtype.h"

namespace trireme::cuda {

// A grid of blocks of threads, by head (x; heads that share keys count as one if a tile holds rows of all),
// by tile of rows, a row being a query of a head, and split, a part of the keys that a tile sees (y), and by
// sequence (z).  So the heads of a sequence run at the same time, whose keys and values fit into the GPU's
// cache as a rule.  Tiles run from the last rows, which see the most keys when causal, to the first.
struct ForwardGrid {
  int num_tiles = 0;

  // Where there are several splits, what each has found is put here and combined afterwards: rows of out,
  // [split, B, H, T, width of the kernel], and log-sum-exps, [split, B, H, T].  Rows of a split that saw no
  // key have the log-sum-exp -infinity, and no out.
  int num_splits = 1;
  float* split_out = nullptr;
  float* split_lse = nullptr;
};

// What a kernel takes at once.
struct ForwardTileSize {
  int rows, keys, width;
  bool packs_heads;  // rows are the queries of all heads that share keys, the heads of a query side by side
  int blocks_per_multiprocessor;
};

ForwardGrid plan_forward(const AttentionParameters<Bfloat16>& p, const ForwardTileSize& tile,
                         StreamState& stream);

// Short queries, of decoding, have a kernel of their own; see forward_bf16.cuh.
constexpr int kMaxShortQueries = 16;

// For heads of at most so many numbers: 32, 64, 96 and 128, in a file each.
template <int kWidth>
void launch_forward_bf16(const AttentionParameters<Bfloat16>& p, StreamState& stream);
extern template void launch_forward_bf16<32>(const AttentionParameters<Bfloat16>&, StreamState&);
extern template void launch_forward_bf16<64>(const AttentionParameters<Bfloat16>&, StreamState&);
extern template void launch_forward_bf16<96>(const AttentionParameters<Bfloat16>&, StreamState&);
extern template void launch_forward_bf16<128>(const AttentionParameters<Bfloat16>&, StreamState&);

// out and lse from those of the splits, whose rows of out are `split_width` floats.
void launch_forward_combine(const AttentionParameters<Bfloat16>& p, const ForwardGrid& grid, int split_width,
                            StreamState& stream);

}  // namespace trireme::cuda
