// Rows of bf16 operands between global and shared memory, and what surrounds the bf16 backward's products:
// the sums over rows before them, and the conversion of dq after them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/backward_tile.cuh"
#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/attention/row_copy.cuh"
#include "kernels/dtype.h"

namespace trireme::cuda {

// Intermediate results.  Blocks of 64 queries; rows up to the next multiple of 128 are there, too.
struct BackwardScratch {
  // Of each query {log-sum-exp in base 2, delta = dout . out}.  Queries that see nothing, or are not there,
  // have {infinity, 0}: all their probabilities and gradients come out as 0.
  float2* statistics = nullptr;
  // Sums of dq, before scaling: element i of thread t of a block of queries is at i kThreads + t, so that a
  // warp adds to 32 neighbours.  None if dq must be deterministic.
  float* dq = nullptr;
  int num_rows = 0;  // of a head

  __device__ std::int64_t first_row(const AttentionParameters<Bfloat16>& p, int b, int h) const {
    return static_cast<std::int64_t>(b * p.num_heads + h) * num_rows;
  }
};

// The eight numbers from `from` on, of which `count` are there; the others are 0.
__device__ inline uint4 load_chunk(const Bfloat16* from, int count, bool is_aligned) {
  if (count <= 0) return make_uint4(0, 0, 0, 0);
  if (is_aligned) return *reinterpret_cast<const uint4*>(from);
  unsigned word[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    word[i] = 2 * i < count ? from[2 * i].bits : 0;
    if (2 * i + 1 < count) word[i] |= static_cast<unsigned>(from[2 * i + 1].bits) << 16;
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}

// Copies rows from `first` on to a tile; those from `end` on and columns from `width` on are 0.
template <typename Tile, int kThreads>
__device__ void load_rows(unsigned char* tile, const Bfloat16* head, std::int64_t row_stride, int first,
                          int end, int width, bool is_aligned) {
  const Bfloat16* const from = head + first * row_stride;
  copy_rows<Tile, kThreads>(shared_address(tile), end - first, width, is_aligned,
                            [&](int row) { return from + row * row_stride; });
}

// The other way, of the rows and columns that are there.
template <typename Tile, int kThreads>
__device__ void store_rows(const unsigned char* tile, Bfloat16* head, std::int64_t row_stride, int first,
                           int end, int width, bool is_aligned) {
  for_each_chunk<Tile, kThreads, false>(
      static_cast<int>(threadIdx.x), [&](unsigned offset, int row, int chunk) {
        const int count = min(8, width - 8 * chunk);
        if (first + row >= end || count <= 0) return;
        Bfloat16* const to = head + (first + row) * row_stride + 8 * chunk;
        if (is_aligned) {
          *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(tile + offset);
        } else {
          for (int i = 0; i < count; ++i) to[i] = reinterpret_cast<const Bfloat16*>(tile + offset)[i];
        }
      });
}

// The products of the two halves of two words.
__device__ inline float dot_pair(unsigned a, unsigned b) {
  return __uint_as_float(a << 16) * __uint_as_float(b << 16) +
         __uint_as_float(a & 0xFFFF0000u) * __uint_as_float(b & 0xFFFF0000u);
}

constexpr int kStatisticsThreads = 256;

// Computes the statistics, and sets the sums of dq to 0.  Grid: blocks of 64 rows, heads, sequences.
template <int kWidth>
__global__ void __launch_bounds__(kStatisticsThreads)
    attention_statistics_bf16(const AttentionParameters<Bfloat16> p, const BackwardScratch scratch) {
  constexpr int kRows = 64;
  constexpr int kLanes = kWidth == 96 ? 16 : kWidth / 8;  // that share a row, 8 columns each
  const int h = blockIdx.y, b = blockIdx.z;
  const int first = blockIdx.x * kRows;
  const std::int64_t head_row = scratch.first_row(p, b, h);
  const int column = static_cast<int>(threadIdx.x) % kLanes * 8;
#pragma unroll 2
  for (int row = first + static_cast<int>(threadIdx.x) / kLanes; row < first + kRows;
       row += kStatisticsThreads / kLanes) {
    const int count = row < p.num_queries ? p.width - column : 0;
    const uint4 o = load_chunk(p.out.head(b, h) + row * p.out.row_stride + column, count, p.is_aligned);
    const uint4 d = load_chunk(p.dout.head(b, h) + row * p.dout.row_stride + column, count, p.is_aligned);
    float delta = dot_pair(o.x, d.x) + dot_pair(o.y, d.y) + dot_pair(o.z, d.z) + dot_pair(o.w, d.w);
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) delta += __shfl_xor_sync(~0u, delta, step);
    if (column != 0) continue;
    float2 statistics = make_float2(INFINITY, 0.0F);
    if (row < p.num_queries) {
      const float lse = p.lse[static_cast<std::int64_t>(b * p.num_heads + h) * p.num_queries + row];
      if (lse != -INFINITY) statistics = make_float2(lse / kLn2, delta);
    }
    scratch.statistics[head_row + row] = statistics;
  }
  if (p.is_deterministic) return;
  float4* const dq = reinterpret_cast<float4*>(scratch.dq + (head_row + first) * kWidth);
#pragma unroll
  for (int i = 0; i < kRows * kWidth / 4; i += kStatisticsThreads)
    dq[i + threadIdx.x] = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
}

// A warp's place in a block's dq.
template <typename Tile>
struct QueryGradientPlace {
  static constexpr int kColumnStep = 16 * Tile::kColumnWarps;
  const int row = this_warp() / Tile::kColumnWarps * (Tile::kQueries / Tile::kRowWarps);
  const int column = this_warp() % Tile::kColumnWarps * 16;
};

// A thread's first sum of a block's dq.
template <typename Tile>
__device__ float* query_gradient_sums(const BackwardScratch& scratch, const AttentionParameters<Bfloat16>& p,
                                      int b, int h, int block) {
  return scratch.dq + (scratch.first_row(p, b, h) + block * Tile::kQueries) * Tile::kWidth + threadIdx.x;
}

template <typename Tile>
__device__ void add_query_gradient(float* sums, const typename Tile::QueryGradient& x) {
  int i = 0;
#pragma unroll
  for (const auto& row : x) {
#pragma unroll
    for (const auto& piece : row) {
#pragma unroll
      for (const float value : piece) {
        asm volatile("red.global.add.f32 [%0], %1;" ::"l"(sums + i * Tile::kThreads), "f"(value) : "memory");
        ++i;
      }
    }
  }
}

// dq from its sums.  Grid: blocks of queries, heads, sequences.
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    attention_convert_dq_bf16(const AttentionParameters<Bfloat16> p, const BackwardScratch scratch) {
  __shared__ __align__(128) unsigned char tile[Tile::Queries::kBytes];
  const int h = blockIdx.y, b = blockIdx.z, block = blockIdx.x;
  const float* sums = query_gradient_sums<Tile>(scratch, p, b, h, block);
  typename Tile::QueryGradient x;
  int i = 0;
#pragma unroll
  for (auto& row : x) {
#pragma unroll
    for (auto& piece : row) {
#pragma unroll
      for (float& value : piece) value = sums[i++ * Tile::kThreads];
    }
  }
  using Place = QueryGradientPlace<Tile>;
  const Place place;
  store_product<typename Tile::Queries, Place::kColumnStep>(tile, place.row, place.column, x, p.scale * kLn2);
  __syncthreads();
  store_rows<typename Tile::Queries, Tile::kThreads>(
      tile, p.dq.head(b, h), p.dq.row_stride, block * Tile::kQueries, p.num_queries, p.width, p.is_aligned);
}

}  // namespace trireme::cuda
