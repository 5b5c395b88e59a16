#include "kernels/rope.h"

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

namespace {

// By the table's angles times `direction`, 1 or -1.
void rotate(const Tensor& x_BTHD, const Tensor& cos_PR, const Tensor& sin_PR, std::int64_t first_position,
            const Tensor& positions_BT, float direction) {
  const std::int64_t length = x_BTHD.dim(1);
  const std::int64_t half = x_BTHD.dim(3) / 2;
  const std::int32_t* const positions = positions_BT ? positions_BT.data<std::int32_t>() : nullptr;
  parallel_for(x_BTHD.dim(0) * length, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t position = positions == nullptr ? first_position + n % length : positions[n];
      const float* const cos = cos_PR.data<float>() + position * half;
      const float* const sin = sin_PR.data<float>() + position * half;
      float* const row = x_BTHD.data<float>() + n / length * x_BTHD.stride(0) + n % length * x_BTHD.stride(1);
      for (std::int64_t h = 0; h < x_BTHD.dim(2); ++h) {
        float* const first = row + h * x_BTHD.stride(2);
        float* const second = first + half;
#pragma omp simd
        for (std::int64_t r = 0; r < half; ++r) {
          const float a = first[r];
          const float b = second[r];
          const float s = direction * sin[r];
          first[r] = a * cos[r] - b * s;
          second[r] = b * cos[r] + a * s;
        }
      }
    }
  });
}

}  // namespace

void rope_forward(Tensor x_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                  Tensor positions_BT, Stream) {
  rotate(x_BTHD, cos_PR, sin_PR, first_position, positions_BT, 1.0F);
}

void rope_backward(Tensor dx_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                   Tensor positions_BT, Stream) {
  rotate(dx_BTHD, cos_PR, sin_PR, first_position, positions_BT, -1.0F);
}

TRIREME_END_ISA
