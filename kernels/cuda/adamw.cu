#include "kernels/adamw.h"
#include "kernels/adamw_factors.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

template <int kWidth>
__global__ void __launch_bounds__(kFlatThreads)
    update(float* params, float* ms, float* vs, const float* grads, const float* gradient_scale,
           const AdamWFactors by, std::int64_t n) {
  const float scale = *gradient_scale;
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
      param[j] -= by.rate * m[j] / (sqrtf(v[j]) * by.inverse_root + by.epsilon) + by.decay * param[j];
    }
    store(params + i, pack<float>(param));
    store(ms + i, pack<float>(m));
    store(vs + i, pack<float>(v));
  });
}

}  // namespace

void adamw_step(Tensor param, Tensor m, Tensor v, Tensor grad, Tensor gradient_scale,
                const AdamWOptions& options, Stream stream) {
  const bool aligned = are_aligned(param.raw_data(), m.raw_data(), v.raw_data(), grad.raw_data());
  const std::int64_t n = param.num_elements();
  launch(aligned ? update<kVectorWidth<float>> : update<1>, flat_grid(n, aligned ? kVectorWidth<float> : 1),
         stream, param.data<float>(), m.data<float>(), v.data<float>(), grad.data<float>(),
         gradient_scale.data<float>(), AdamWFactors(options), n);
}

}  // namespace trireme::cuda
