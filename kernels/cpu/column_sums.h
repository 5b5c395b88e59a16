// Sums over rows, in an order that does not depend on threads: ranges of rows first, then the ranges in
// order.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

// Rows that one range sums.
inline constexpr std::int64_t kColumnSumRows = 32;

inline std::int64_t num_column_sum_ranges(std::int64_t num_rows) {
  return (num_rows + kColumnSumRows - 1) / kColumnSumRows;
}

// sums[c] += sum over r of partial[r * stride + c], for c < width.
inline void add_partial_column_sums(float* sums, const float* partial, std::int64_t num_ranges,
                                    std::int64_t stride, std::int64_t width) {
  parallel_for(width, 512, [=](std::int64_t begin, std::int64_t end) {
    alignas(64) float total[512] = {};
    for (std::int64_t r = 0; r < num_ranges; ++r) {
      const float* const row = partial + r * stride;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) total[c - begin] += row[c];
    }
    for (std::int64_t c = begin; c < end; ++c) sums[c] += total[c - begin];
  });
}

TRIREME_END_ISA
