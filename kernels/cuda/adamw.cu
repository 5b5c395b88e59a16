#include "kernels/adamw.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

__global__ void __launch_bounds__(1)
    decide(float* factors, std::int32_t* counts, float* norm_1, const float* sum_of_squares_1,
           const float* loss_1, float max_norm, const AdamWOptions options) {
  const double norm = sqrt(static_cast<double>(*sum_of_squares_1));
  *norm_1 = static_cast<float>(norm);
  if (!isfinite(norm) || !isfinite(*loss_1)) {
    factors[kGradientScale] = factors[kRate] = factors[kInverseRoot] = __int_as_float(0x7FC00000);
    counts[kLastSkippedStep] = counts[kUpdates] + counts[kSkippedSteps];
    ++counts[kSkippedSteps];
    return;
  }
  const double t = ++counts[kUpdates];
  const double correction1 = 1.0 - pow(static_cast<double>(options.beta1), t);
  const double correction2 = 1.0 - pow(static_cast<double>(options.beta2), t);
  const double most = max_norm;
  factors[kGradientScale] = most > 0.0 && norm > most ? static_cast<float>(most / norm) : 1.0F;
  factors[kRate] = static_cast<float>(factors[kLearningRate] / correction1);
  factors[kInverseRoot] = static_cast<float>(1.0 / sqrt(correction2));
}

constexpr int kBlocksAtOnce = 5;  // what registers of whole vectors allow

// Calls body.operator()<w>(i) for runs of w elements from i on, which together are [begin, end), of a piece:
// w is kWidth where i is a multiple of that, and 1 for what is left at both ends.
template <int kWidth, typename Body>
__device__ inline void for_each_pack(int begin, int end, Body body) {
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < end; i += kFlatThreads * kWidth) {
    if (begin <= i && i + kWidth <= end) {
      body.template operator()<kWidth>(i);
    } else if constexpr (kWidth > 1) {
      for (int j = max(i, begin); j < min(i + kWidth, end); ++j) body.template operator()<1>(j);
    }
  }
}

// A block updates a piece.
template <int kWidth>
__global__ void __launch_bounds__(kFlatThreads, kBlocksAtOnce)
    update(float* params, Bfloat16* copies, float* ms, float* vs, const float* grads, const float* factors,
           const AdamWTable::Piece* pieces, const AdamWOptions by) {
  const float scale = factors[kGradientScale];
  if (isnan(scale)) return;
  const float rate = factors[kRate];
  const float inverse_root = factors[kInverseRoot];
  const AdamWTable::Piece piece = pieces[blockIdx.x];
  const float decay = factors[kLearningRate] * piece.weight_decay;
  // From here on elements are counted in 32 bits: with 64 nvcc takes the stores of bf16 apart.
  const int begin = static_cast<int>(piece.begin % kWidth);
  const std::int64_t base = piece.begin - begin;
  params += base, ms += base, vs += base, grads += base;
  if (copies != nullptr) copies += base;
  for_each_pack<kWidth>(begin, begin + piece.size, [=]<int w>(int i) {
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
                  float max_norm, const AdamWOptions& options, Stream stream) {
  launch(decide, {1, dim3(1)}, stream, factors.data<float>(), counts.data<std::int32_t>(),
         norm_1.data<float>(), sum_of_squares_1.data<float>(), loss_1.data<float>(), max_norm, options);
}

void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWTable& table, const AdamWOptions& options, Stream stream) {
  const bool aligned =
      are_aligned(param.raw_data(), rounded.raw_data(), m.raw_data(), v.raw_data(), grad.raw_data());
  launch(aligned ? update<kVectorWidth<float>> : update<1>, {table.num_pieces(), kFlatThreads}, stream,
         param.data<float>(), rounded ? rounded.data<Bfloat16>() : nullptr, m.data<float>(), v.data<float>(),
         grad.data<float>(), factors.data<float>(), table.pieces(), options);
}

}  // namespace trireme::cuda
