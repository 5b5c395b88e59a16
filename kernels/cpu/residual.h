// The residual addition that norms are fused with, row by row.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/isa.h"

TRIREME_BEGIN_ISA

// sum = residual + dropout(branch), one row; `factors` is room for a row.
inline void add_branch(float* sum, const float* residual, const float* branch, float* factors,
                       const DropoutMask* mask, std::int64_t row, std::int64_t width) {
  if (mask == nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) sum[c] = residual[c] + branch[c];
    return;
  }
  mask->draw(factors, row * width, width);
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) sum[c] = residual[c] + branch[c] * factors[c];
}

// out = dropout(row); `factors` is room for a row.
inline void drop_row(float* out, const float* row, float* factors, const DropoutMask* mask,
                     std::int64_t number, std::int64_t width) {
  if (mask == nullptr) {
    std::memcpy(out, row, static_cast<std::size_t>(width) * sizeof(float));
    return;
  }
  mask->draw(factors, number * width, width);
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) out[c] = row[c] * factors[c];
}

TRIREME_END_ISA
