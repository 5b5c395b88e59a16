#include "kernels/gated_activation.h"

#include "kernels/cpu/activation.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

inline constexpr std::int64_t kRowsAtOnce = 8;

void gated_activation_forward(Tensor y_NF, Tensor x_NG, Activation activation, Stream) {
  const std::int64_t width = y_NF.dim(1);
  float* const y = y_NF.data<float>();
  const float* const x = x_NG.data<float>();
  with_function(activation, [&](auto function) {
    using Function = decltype(function);
    parallel_for(y_NF.dim(0), kRowsAtOnce, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        float* const out = y + n * width;
        const float* const gate = x + n * 2 * width;
        const float* const up = gate + width;
#pragma omp simd
        for (std::int64_t f = 0; f < width; ++f) out[f] = Function::value(gate[f]) * up[f];
      }
    });
  });
}

void gated_activation_backward(Tensor dx_NG, Tensor dy_NF, Tensor x_NG, Activation activation, Stream) {
  const std::int64_t width = dy_NF.dim(1);
  float* const dx = dx_NG.data<float>();
  const float* const dy = dy_NF.data<float>();
  const float* const x = x_NG.data<float>();
  with_function(activation, [&](auto function) {
    using Function = decltype(function);
    parallel_for(dy_NF.dim(0), kRowsAtOnce, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const float* const d = dy + n * width;
        const float* const gate = x + n * 2 * width;
        const float* const up = gate + width;
        float* const dgate = dx + n * 2 * width;
        float* const dup = dgate + width;
#pragma omp simd
        for (std::int64_t f = 0; f < width; ++f) {
          const float g = gate[f];
          const float u = up[f];
          dgate[f] = d[f] * u * Function::derivative(g);
          dup[f] = d[f] * Function::value(g);
        }
      }
    });
  });
}

TRIREME_END_ISA
