// One head of a [B, T, H, D] tensor.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/transpose.h"
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
  if (count < stride) std::memset(to, 0, static_cast<std::size_t>(width * stride) * sizeof(float));
  transpose<kLanes>(to, stride, rows.at(begin), rows.stride, count, width);
  if (scale == 1.0F) return;
  for (std::int64_t i = 0; i < width * stride; ++i) to[i] *= scale;
}

TRIREME_END_ISA
