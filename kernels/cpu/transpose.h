// Small blocks turned around in registers.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

template <int kSize>
struct BlockVec {
  typedef float Row __attribute__((vector_size(kSize * sizeof(float))));
  typedef std::int32_t Mask __attribute__((vector_size(kSize * sizeof(float))));
  typedef float UnalignedRow __attribute__((vector_size(kSize * sizeof(float)), aligned(4), may_alias));
};

// Exchanges the upper right with the lower left quarter of every block of 2 kDistance rows and columns.
template <int kSize, int kDistance>
TRIREME_INLINE void exchange_quarters(typename BlockVec<kSize>::Row (&rows)[kSize]) {
  typename BlockVec<kSize>::Mask left{};
  typename BlockVec<kSize>::Mask right{};
  for (int i = 0; i < kSize; ++i) {
    left[i] = (i & kDistance) != 0 ? kSize + i - kDistance : i;
    right[i] = (i & kDistance) != 0 ? kSize + i : i + kDistance;
  }
  for (int i = 0; i < kSize; ++i) {
    if ((i & kDistance) != 0) continue;
    const auto upper = rows[i];
    const auto lower = rows[i + kDistance];
    rows[i] = __builtin_shuffle(upper, lower, left);
    rows[i + kDistance] = __builtin_shuffle(upper, lower, right);
  }
}

// to[j * to_stride + i] = from[i * from_stride + j] for i, j < kSize, which is 4, 8 or 16.
template <int kSize>
TRIREME_INLINE void transpose_block(float* to, std::int64_t to_stride, const float* from,
                                    std::int64_t from_stride) {
  using Vecs = BlockVec<kSize>;
  typename Vecs::Row rows[kSize];
  for (int i = 0; i < kSize; ++i) {
    rows[i] = *reinterpret_cast<const typename Vecs::UnalignedRow*>(from + i * from_stride);
  }
  if constexpr (kSize > 8) exchange_quarters<kSize, 8>(rows);
  if constexpr (kSize > 4) exchange_quarters<kSize, 4>(rows);
  exchange_quarters<kSize, 2>(rows);
  exchange_quarters<kSize, 1>(rows);
  for (int i = 0; i < kSize; ++i) {
    *reinterpret_cast<typename Vecs::UnalignedRow*>(to + i * to_stride) = rows[i];
  }
}

// to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < columns.  Writes in order.
template <int kSize>
void transpose(float* to, std::int64_t to_stride, const float* from, std::int64_t from_stride,
               std::int64_t rows, std::int64_t columns) {
  const std::int64_t whole_rows = rows / kSize * kSize;
  const std::int64_t whole_columns = columns / kSize * kSize;
  for (std::int64_t j = 0; j < whole_columns; j += kSize) {
    for (std::int64_t i = 0; i < whole_rows; i += kSize) {
      transpose_block<kSize>(to + j * to_stride + i, to_stride, from + i * from_stride + j, from_stride);
    }
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
}

TRIREME_END_ISA
