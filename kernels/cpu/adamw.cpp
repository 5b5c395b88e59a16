#include "kernels/adamw.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

void begin_update(Tensor factors, Tensor counts, Tensor norm_1, Tensor sum_of_squares_1, Tensor loss_1,
                  float max_norm, const AdamWOptions& options, Stream) {
  float* const factor = factors.data<float>();
  std::int32_t* const count = counts.data<std::int32_t>();
  const double norm = std::sqrt(static_cast<double>(*sum_of_squares_1.data<float>()));
  *norm_1.data<float>() = static_cast<float>(norm);
  if (!std::isfinite(norm) || !std::isfinite(*loss_1.data<float>())) {
    factor[kGradientScale] = factor[kRate] = factor[kInverseRoot] = std::numeric_limits<float>::quiet_NaN();
    count[kLastSkippedStep] = count[kUpdates] + count[kSkippedSteps];
    ++count[kSkippedSteps];
    return;
  }
  const auto t = static_cast<double>(++count[kUpdates]);
  const double correction1 = 1.0 - std::pow(static_cast<double>(options.beta1), t);
  const double correction2 = 1.0 - std::pow(static_cast<double>(options.beta2), t);
  const double most = max_norm;
  factor[kGradientScale] = most > 0.0 && norm > most ? static_cast<float>(most / norm) : 1.0F;
  factor[kRate] = static_cast<float>(factor[kLearningRate] / correction1);
  factor[kInverseRoot] = static_cast<float>(1.0 / std::sqrt(correction2));
}

void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWTable& table, const AdamWOptions& by, Stream) {
  float* const params = param.data<float>();
  Bfloat16* const copies = rounded ? rounded.data<Bfloat16>() : nullptr;
  float* const ms = m.data<float>();
  float* const vs = v.data<float>();
  const float* const grads = grad.data<float>();

  const float learning_rate = factors.data<float>()[kLearningRate];
  const float scale = factors.data<float>()[kGradientScale];
  const float rate = factors.data<float>()[kRate];
  const float inverse_root = factors.data<float>()[kInverseRoot];
  if (std::isnan(scale)) return;

  const auto update = [=](std::int64_t begin, std::int64_t end, float decay) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = grads[i] * scale;
      const float new_m = by.beta1 * ms[i] + (1.0F - by.beta1) * g;
      const float new_v = by.beta2 * vs[i] + (1.0F - by.beta2) * (g * g);
      ms[i] = new_m;
      vs[i] = new_v;
      params[i] -= rate * new_m / (__builtin_sqrtf(new_v) * inverse_root + by.epsilon) + decay * params[i];
    }
    if (copies == nullptr) return;
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) copies[i] = Bfloat16(params[i]);
  };
  const AdamWTable::Piece* const pieces = table.pieces();
  parallel_for(table.num_pieces(), 4, [=](std::int64_t first, std::int64_t last) {
    for (std::int64_t p = first; p < last; ++p) {
      const auto& [begin, size, weight_decay] = pieces[p];
      update(begin, begin + size, learning_rate * weight_decay);
    }
  });
}

TRIREME_END_ISA
