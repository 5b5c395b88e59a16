#include "kernels/adamw.h"

#include "kernels/adamw_factors.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

void adamw_step(Tensor param, Tensor m, Tensor v, Tensor grad, Tensor gradient_scale,
                const AdamWOptions& options, Stream) {
  float* const params = param.data<float>();
  float* const ms = m.data<float>();
  float* const vs = v.data<float>();
  const float* const grads = grad.data<float>();

  const AdamWFactors by(options);
  const float scale = gradient_scale.data<float>()[0];

  parallel_for(param.num_elements(), 1 << 14, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = grads[i] * scale;
      const float new_m = by.beta1 * ms[i] + (1.0F - by.beta1) * g;
      const float new_v = by.beta2 * vs[i] + (1.0F - by.beta2) * (g * g);
      ms[i] = new_m;
      vs[i] = new_v;
      params[i] -=
          by.rate * new_m / (__builtin_sqrtf(new_v) * by.inverse_root + by.epsilon) + by.decay * params[i];
    }
  });
}

TRIREME_END_ISA
