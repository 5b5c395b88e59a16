#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

inline float largest_of(const float* row, std::int64_t width) {
  float largest = -3.4028235e38F;  // finite, so that a row of -Inf is not Inf - Inf
#pragma omp simd reduction(max : largest)
  for (std::int64_t v = 0; v < width; ++v) largest = row[v] > largest ? row[v] : largest;
  return largest;
}

// log(sum of exp(row)), without overflow.  NaN where there is NaN or +Inf; -Inf where all are -Inf.
inline float log_sum_exp(const float* row, std::int64_t width) {
  const float largest = largest_of(row, width);
  // Float sums of short ranges, summed in double: a vocabulary is long.
  constexpr std::int64_t kRange = 256 * kLanes;
  double total = 0.0;
  std::int64_t v = 0;
  while (v + kLanes <= width) {
    const std::int64_t end = v + kRange < width ? v + kRange : width;
    Vec sum{};
    for (; v + kLanes <= end; v += kLanes) sum += exp2_nonpositive((load(row + v) - largest) * kLog2E);
    for (int i = 0; i < kLanes; ++i) total += static_cast<double>(sum[i]);
  }
  for (; v < width; ++v) total += static_cast<double>(exp(row[v] - largest));
  return largest + static_cast<float>(std::log(total));
}

inline float mean_of(const float* row, std::int64_t width) {
  constexpr std::int64_t kRange = 4096;  // summed in float, and the ranges in double
  double total = 0.0;
  for (std::int64_t begin = 0; begin < width; begin += kRange) {
    const std::int64_t end = begin + kRange < width ? begin + kRange : width;
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t v = begin; v < end; ++v) sum += row[v];
    total += static_cast<double>(sum);
  }
  return static_cast<float>(total / static_cast<double>(width));
}

void cross_entropy_forward(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor logits_NV,
                           Tensor targets_N, float label_smoothing, Stream) {
  const float* const logits = logits_NV.data<float>();
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  float* const lse = lse_N.data<float>();
  float* const target_logit = target_logit_N.data<float>();
  float* const smoothed_logit = smoothed_logit_N ? smoothed_logit_N.data<float>() : nullptr;
  const std::int64_t width = logits_NV.dim(1);
  const std::int64_t stride = logits_NV.stride(0);
  parallel_for(logits_NV.dim(0), 1, [=](std::int64_t n, std::int64_t) {
    const float* const row = logits + n * stride;
    const bool ignored = targets[n] == kIgnoredTarget;
    lse[n] = ignored ? 0.0F : log_sum_exp(row, width);
    target_logit[n] = ignored ? 0.0F : row[targets[n]];
    if (smoothed_logit == nullptr) return;
    smoothed_logit[n] = target_logit[n];
    // Not by 0: an impossible token's logit is -Inf.
    if (!ignored && label_smoothing > 0.0F)
      smoothed_logit[n] += label_smoothing * (mean_of(row, width) - target_logit[n]);
  });
}

void cross_entropy_backward(Tensor dlogits_NV, Tensor logits_NV, Tensor lse_N, Tensor targets_N,
                            float label_smoothing, float scale, Stream) {
  const float* const logits = logits_NV.data<float>();
  float* const dlogits = dlogits_NV.data<float>();
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  const float* const lse = lse_N.data<float>();
  const std::int64_t width = logits_NV.dim(1);
  const std::int64_t stride = logits_NV.stride(0);
  const std::int64_t dstride = dlogits_NV.stride(0);
  const float everywhere = scale * label_smoothing / static_cast<float>(width);
  const float at_target = scale * (1.0F - label_smoothing);
  parallel_for(logits_NV.dim(0), 1, [=](std::int64_t n, std::int64_t) {
    const float* const in = logits + n * stride;
    float* const out = dlogits + n * dstride;
    if (targets[n] == kIgnoredTarget) {
      std::memset(out, 0, static_cast<std::size_t>(width) * sizeof(float));
      return;
    }
    const float log_sum = lse[n];
    std::int64_t v = 0;
    for (; v + kLanes <= width; v += kLanes) {
      store(out + v, scale * exp2_nonpositive((load(in + v) - log_sum) * kLog2E) - everywhere);
    }
    for (; v < width; ++v) out[v] = scale * exp(in[v] - log_sum) - everywhere;
    out[targets[n]] -= at_target;
  });
}

TRIREME_END_ISA
