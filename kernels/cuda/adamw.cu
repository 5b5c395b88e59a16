#include "kernels/adamw.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

__global__ void __launch_bounds__(1)
    decide(float* factors, std::int32_t* counts, float* norm_1, const float* sum_of_squares_1,
           const float* loss_1, float max_norm, std::int32_t step, const AdamWOptions options) {
  const double norm = sqrt(static_cast<double>(*sum_of_squares_1));
  *norm_1 = static_cast<float>(norm);
  if (!isfinite(norm) || !isfinite(*loss_1)) {
    factors[kGradientScale] = factors[kRate] = factors[kInverseRoot] = __int_as_float(0x7FC00000);
    ++counts[kSkippedSteps];
    counts[kLastSkippedStep] = step;
    return;
  }
  const double t = ++counts[kUpdates];
  const double correction1 = 1.0 - pow(static_cast<double>(options.beta1), t);
  const double correction2 = 1.0 - pow(static_cast<double>(options.beta2), t);
  const double most = max_norm;
  factors[kGradientScale] = most > 0.0 && norm > most ? static_cast<float>(most / norm) : 1.0F;
  factors[kRate] = static_cast<float>(options.learning_rate / correction1);
  factors[kInverseRoot] = static_cast<float>(1.0 / sqrt(correction2));
}

template <int kWidth>
__global__ void __launch_bounds__(kFlatThreads)
    update(float* params, Bfloat16* copies, float* ms, float* vs, const float* grads, const float* factors,
           const AdamWOptions by, std::int64_t n) {
  const float scale = factors[kGradientScale];
  if (isnan(scale)) return;
  const float rate = factors[kRate];
  const float inverse_root = factors[kInverseRoot];
  const float decay = by.learning_rate * by.weight_decay;
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) {
    Floats<w> param = load_floats<w>(params + i);
    Floats<w> m = load_floats<w>(ms + i);
    Floats<w> v = load_floats<w>(vs + i);
    const Floats<w> grad = load_floats<w>(grads + i);
#pragma unroll
    for (int j = 0; j < w; ++j) {
      const float g = grad[j] * scale;
      m[j] = by.beta1 * m[j] + (1.0F - by.beta1) * g;
      v[j] = by.beta2 * v[j] + (1.0F - by.beta2) * (g * g);
      param[j] -= rate * m[j] / (sqrtf(v[j]) * inverse_root + by.epsilon) + decay * param[j];
    }
    store(params + i, pack<float>(param));
    if (copies != nullptr) store(copies + i, pack<Bfloat16>(param));
    store(ms + i, pack<float>(m));
    store(vs + i, pack<float>(v));
  });
}

}  // namespace

void begin_update(Tensor factors, Tensor counts, Tensor norm_1, Tensor sum_of_squares_1, Tensor loss_1,
                  float max_norm, std::int64_t step, const AdamWOptions& options, Stream stream) {
  launch(decide, {1, dim3(1)}, stream, factors.data<float>(), counts.data<std::int32_t>(),
         norm_1.data<float>(), sum_of_squares_1.data<float>(), loss_1.data<float>(), max_norm,
         static_cast<std::int32_t>(step), options);
}

void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWOptions& options, Stream stream) {
  const bool aligned =
      are_aligned(param.raw_data(), rounded.raw_data(), m.raw_data(), v.raw_data(), grad.raw_data());
  const std::int64_t n = param.num_elements();
  launch(aligned ? update<kVectorWidth<float>> : update<1>, flat_grid(n, aligned ? kVectorWidth<float> : 1),
         stream, param.data<float>(), rounded ? rounded.data<Bfloat16>() : nullptr, m.data<float>(),
         v.data<float>(), grad.data<float>(), factors.data<float>(), options, n);
}

}  // namespace trireme::cuda
