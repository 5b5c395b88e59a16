// Products of small matrices whose operands lie in the caches: what attention's blocks are made of.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

// Sums that a tile keeps in registers: kTileRows * kTileVecs, with kTileVecs + 1 more for operands.
#if TRIREME_ISA_LEVEL == 4
inline constexpr int kTileVecs = 4;
#else
inline constexpr int kTileVecs = 2;
#endif
inline constexpr int kTileRows = 6;
inline constexpr std::int64_t kTileWidth = kTileVecs * kLanes;

// The left operand: element (row, k) is data[row * row_stride + k * k_stride].
struct TileLeft {
  const float* data;
  std::int64_t row_stride;
  std::int64_t k_stride;
};
// The right operand and the result: element (row, column) is data[row * stride + column].
struct TileRight {
  const float* data;
  std::int64_t stride;
};
struct TileResult {
  float* data;
  std::int64_t stride;
};

// result[kRows, kVecs * kLanes] (+)= left[kRows, depth] right[depth, kVecs * kLanes].
template <int kRows, int kVecs>
void multiply_tile(TileResult result, TileLeft left, TileRight right, std::int64_t depth, bool accumulate) {
  Vec sum[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      sum[r][v] = accumulate ? load(result.data + r * result.stride + v * kLanes) : Vec{};
    }
  }
  const float* left_k = left.data;
  const float* right_k = right.data;
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec b[kVecs];
    for (int v = 0; v < kVecs; ++v) b[v] = load(right_k + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const float a = left_k[r * left.row_stride];
      for (int v = 0; v < kVecs; ++v) sum[r][v] += a * b[v];
    }
    left_k += left.k_stride;
    right_k += right.stride;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) store(result.data + r * result.stride + v * kLanes, sum[r][v]);
  }
}

template <int kVecs>
void multiply_rows(TileResult result, TileLeft left, TileRight right, std::int64_t rows, std::int64_t depth,
                   bool accumulate) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    multiply_tile<kTileRows, kVecs>(result, left, right, depth, accumulate);
    result.data += kTileRows * result.stride;
    left.data += kTileRows * left.row_stride;
  }
  switch (rows) {
    case 5:
      return multiply_tile<5, kVecs>(result, left, right, depth, accumulate);
    case 4:
      return multiply_tile<4, kVecs>(result, left, right, depth, accumulate);
    case 3:
      return multiply_tile<3, kVecs>(result, left, right, depth, accumulate);
    case 2:
      return multiply_tile<2, kVecs>(result, left, right, depth, accumulate);
    case 1:
      return multiply_tile<1, kVecs>(result, left, right, depth, accumulate);
    default:
      return;
  }
}

// result[rows, vecs * kLanes] (+)= left[rows, depth] right[depth, vecs * kLanes].
inline void multiply(TileResult result, TileLeft left, TileRight right, std::int64_t rows, std::int64_t vecs,
                     std::int64_t depth, bool accumulate) {
  for (; vecs >= kTileVecs; vecs -= kTileVecs) {
    multiply_rows<kTileVecs>(result, left, right, rows, depth, accumulate);
    result.data += kTileWidth;
    right.data += kTileWidth;
  }
  if constexpr (kTileVecs > 2) {
    if (vecs == 3) multiply_rows<3>(result, left, right, rows, depth, accumulate);
    if (vecs == 2) multiply_rows<2>(result, left, right, rows, depth, accumulate);
  }
  if (vecs == 1) multiply_rows<1>(result, left, right, rows, depth, accumulate);
}

TRIREME_END_ISA
