#include "kernels/cross_entropy.h"

#include <algorithm>
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

inline double sum_of(const float* row, std::int64_t width) {
  constexpr std::int64_t kRange = 4096;  // summed in float, and the ranges in double
  double total = 0.0;
  for (std::int64_t begin = 0; begin < width; begin += kRange) {
    const std::int64_t end = begin + kRange < width ? begin + kRange : width;
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t v = begin; v < end; ++v) sum += row[v];
    total += static_cast<double>(sum);
  }
  return total;
}

void cross_entropy_forward(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor logits_NV,
                           Tensor targets_N, float label_smoothing, Stream, VocabularyPart part) {
  const float* const logits = logits_NV.data<float>();
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  float* const lse = lse_N.data<float>();
  float* const target_logit = target_logit_N.data<float>();
  float* const smoothed_logit = smoothed_logit_N ? smoothed_logit_N.data<float>() : nullptr;
  const std::int64_t width = logits_NV.dim(1);
  const std::int64_t stride = logits_NV.stride(0);
  const auto whole = static_cast<double>(part.whole > 0 ? part.whole : width);
  parallel_for(logits_NV.dim(0), 1, [=](std::int64_t n, std::int64_t) {
    const float* const row = logits + n * stride;
    const bool ignored = targets[n] == kIgnoredTarget;
    const std::int64_t target = targets[n] - part.first;
    const bool is_here = !ignored && 0 <= target && target < width;
    lse[n] = ignored ? 0.0F : log_sum_exp(row, width);
    target_logit[n] = is_here ? row[target] : 0.0F;
    if (smoothed_logit == nullptr) return;
    smoothed_logit[n] = target_logit[n];
    // Not by 0: an impossible token's logit is -Inf.
    if (!ignored && label_smoothing > 0.0F)
      smoothed_logit[n] +=
          label_smoothing * (static_cast<float>(sum_of(row, width) / whole) - target_logit[n]);
  });
}

void cross_entropy_combine(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor parts_R3N,
                           Tensor targets_N, Stream) {
  const std::int64_t num_parts = parts_R3N.dim(0);
  const std::int64_t num_rows = parts_R3N.dim(2);
  const float* const parts = parts_R3N.data<float>();
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  float* const lse = lse_N.data<float>();
  float* const target_logit = target_logit_N.data<float>();
  float* const smoothed_logit = smoothed_logit_N.data<float>();
  parallel_for(num_rows, 256, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const auto of_part = [=](std::int64_t r, int which) { return parts[(3 * r + which) * num_rows + n]; };
      float largest = -3.4028235e38F;
      for (std::int64_t r = 0; r < num_parts; ++r) largest = std::max(largest, of_part(r, 0));
      double total = 0.0;
      target_logit[n] = smoothed_logit[n] = 0.0F;
      for (std::int64_t r = 0; r < num_parts; ++r) {
        total += std::exp(static_cast<double>(of_part(r, 0)) - static_cast<double>(largest));
        target_logit[n] += of_part(r, 1);
        smoothed_logit[n] += of_part(r, 2);
      }
      const bool ignored = targets[n] == kIgnoredTarget;
      lse[n] = ignored ? 0.0F : largest + static_cast<float>(std::log(total));
    }
  });
}

void cross_entropy_backward(Tensor dlogits_NV, Tensor logits_NV, Tensor lse_N, Tensor targets_N,
                            float label_smoothing, float scale, Stream, VocabularyPart part) {
  const float* const logits = logits_NV.data<float>();
  float* const dlogits = dlogits_NV.data<float>();
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  const float* const lse = lse_N.data<float>();
  const std::int64_t width = logits_NV.dim(1);
  const std::int64_t stride = logits_NV.stride(0);
  const std::int64_t dstride = dlogits_NV.stride(0);
  const float everywhere = scale * label_smoothing / static_cast<float>(part.whole > 0 ? part.whole : width);
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
    const std::int64_t target = targets[n] - part.first;
    if (0 <= target && target < width) out[target] -= at_target;
  });
}

TRIREME_END_ISA
