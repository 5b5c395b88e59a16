#include "kernels/adamw.h"

#include <cmath>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

void adamw_step(Tensor param, Tensor m, Tensor v, Tensor grad, Tensor gradient_scale,
                const AdamWOptions& options, Stream) {
  float* const params = param.data<float>();
  float* const ms = m.data<float>();
  float* const vs = v.data<float>();
  const float* const grads = grad.data<float>();

  const double step = static_cast<double>(options.step);
  const double correction1 = 1.0 - std::pow(static_cast<double>(options.beta1), step);
  const double correction2 = 1.0 - std::pow(static_cast<double>(options.beta2), step);
  const float scale = gradient_scale.data<float>()[0];
  const float beta1 = options.beta1;
  const float beta2 = options.beta2;
  const float rate = static_cast<float>(options.learning_rate / correction1);
  const float decay = options.learning_rate * options.weight_decay;
  const float inverse_root = static_cast<float>(1.0 / std::sqrt(correction2));
  const float epsilon = options.epsilon;

  parallel_for(param.num_elements(), 1 << 14, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = grads[i] * scale;
      const float new_m = beta1 * ms[i] + (1.0F - beta1) * g;
      const float new_v = beta2 * vs[i] + (1.0F - beta2) * (g * g);
      ms[i] = new_m;
      vs[i] = new_v;
      params[i] -= rate * new_m / (__builtin_sqrtf(new_v) * inverse_root + epsilon) + decay * params[i];
    }
  });
}

TRIREME_END_ISA
