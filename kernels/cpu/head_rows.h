// One head of a [B, T, H, D] tensor.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"
#include "kernels/tensor.h"

TRIREME_BEGIN_ISA

// Rows of D elements, `stride` apart: position t is at data + t * stride.
struct HeadRows {
  float* data;
  std::int64_t stride;

  HeadRows(const Tensor& x_BTHD, std::int64_t b, std::int64_t h)
      : data(x_BTHD.data<float>() + b * x_BTHD.stride(0) + h * x_BTHD.stride(2)), stride(x_BTHD.stride(1)) {}

  float* at(std::int64_t t) const { return data + t * stride; }
};

// to[d * stride + t] = scale * row(begin + t)[d] for t < count, and 0 for count <= t < stride.
inline void transpose_rows(float* to, std::int64_t stride, const HeadRows& rows, std::int64_t begin,
                           std::int64_t count, std::int64_t width, float scale) {
  for (std::int64_t d = 0; d < width; ++d) {
    float* const out = to + d * stride;
    const float* const in = rows.at(begin) + d;
    for (std::int64_t t = 0; t < count; ++t) out[t] = scale * in[t * rows.stride];
    for (std::int64_t t = count; t < stride; ++t) out[t] = 0.0F;
  }
}

TRIREME_END_ISA
