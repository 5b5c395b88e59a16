#include "kernels/rope.h"

#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

// kSign is 1, or -1 to turn back.
template <int kSign>
void rotate(Tensor x_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position) {
  const std::int64_t length = x_BTHD.dim(1);
  const std::int64_t heads = x_BTHD.dim(2);
  const std::int64_t half = x_BTHD.dim(3) / 2;
  const float* const cosines = cos_PD.data<float>() + first_position * half;
  const float* const sines = sin_PD.data<float>() + first_position * half;
  parallel_for(x_BTHD.dim(0) * length, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t t = n % length;
      const float* const c = cosines + t * half;
      const float* const s = sines + t * half;
      for (std::int64_t h = 0; h < heads; ++h) {
        float* const low = HeadRows(x_BTHD, n / length, h).at(t);
        float* const high = low + half;
#pragma omp simd
        for (std::int64_t i = 0; i < half; ++i) {
          const float a = low[i];
          const float b = high[i];
          low[i] = a * c[i] - kSign * b * s[i];
          high[i] = b * c[i] + kSign * a * s[i];
        }
      }
    }
  });
}

void rope_forward(Tensor x_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position, Stream) {
  rotate<1>(x_BTHD, cos_PD, sin_PD, first_position);
}

void rope_backward(Tensor dx_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position, Stream) {
  rotate<-1>(dx_BTHD, cos_PD, sin_PD, first_position);
}

TRIREME_END_ISA
