#include "kernels/cuda/attention/forward_bf16.h"

#include <algorithm>
#include <cstdint>

#include <cuda_runtime_api.h>
#include <glog/logging.h>

#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/check.h"

namespace trireme::cuda {
namespace {

// A split must be worth its share of combining.
constexpr int kMinKeyTiles = 4;
constexpr int kMaxGrid = 65535;  // along y and z

int divide_up(int a, int b) {
  return (a + b - 1) / b;
}

int num_multiprocessors(Device device) {
  int count = 0;
  TRIREME_CUDA(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device.index));
  return count;
}

// Keys are split if queries are few beside them, and tiles too few to keep the GPU busy.
int choose_splits(const AttentionParameters<Bfloat16>& p, const ForwardTileSize& tile,
                  std::int64_t num_blocks, Device device) {
  if (p.num_queries > p.num_keys / 4) return 1;
  const std::int64_t room = std::int64_t{num_multiprocessors(device)} * tile.blocks_per_multiprocessor;
  if (2 * num_blocks > room) return 1;
  const std::int64_t num_seen =
      p.window == 0 ? p.num_keys
                    : std::min(std::int64_t{p.num_keys}, p.num_queries + std::int64_t{2} * p.window);
  const std::int64_t num_useful = num_seen / tile.keys / kMinKeyTiles;
  return static_cast<int>(std::max(std::int64_t{1}, std::min(room / num_blocks, num_useful)));
}

}  // namespace

ForwardGrid plan_forward(const AttentionParameters<Bfloat16>& p, const ForwardTileSize& tile,
                         StreamState& stream) {
  ForwardGrid grid;
  const int num_heads = tile.packs_heads ? p.num_kv_heads : p.num_heads;
  grid.num_tiles = divide_up(p.num_queries * (p.num_heads / num_heads), tile.rows);
  grid.num_splits =
      choose_splits(p, tile, std::int64_t{num_heads} * grid.num_tiles * p.num_sequences, stream.device());
  if (grid.num_splits > 1) {
    const std::int64_t rows = std::int64_t{grid.num_splits} * p.num_sequences * p.num_heads * p.num_queries;
    // Rows of out first: they begin at multiples of 128 bytes.
    grid.split_out = static_cast<float*>(
        stream.scratch(rows * (tile.width + 1) * static_cast<std::int64_t>(sizeof(float))));
    grid.split_lse = grid.split_out + rows * tile.width;
  }
  CHECK_LE(std::int64_t{grid.num_tiles} * grid.num_splits, kMaxGrid) << "attention: queries";
  CHECK_LE(p.num_sequences, kMaxGrid) << "attention: sequences";
  return grid;
}

void launch_attention_forward(const AttentionParameters<Bfloat16>& p, StreamState& stream) {
  if (p.width <= 32) {
    launch_forward_bf16<32>(p, stream);
  } else if (p.width <= 64) {
    launch_forward_bf16<64>(p, stream);
  } else if (p.width <= 96) {
    launch_forward_bf16<96>(p, stream);
  } else {
    launch_forward_bf16<128>(p, stream);
  }
}

}  // namespace trireme::cuda
