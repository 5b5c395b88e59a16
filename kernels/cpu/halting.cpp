#include "kernels/halting.h"

#include <cstring>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

constexpr std::int64_t kHaltingRows = 8;

void halting_forward(Tensor mean_NC, Tensor state_NC, Tensor weight_N, Tensor remainder_N, Tensor loops_N,
                     Tensor previous_NC, Tensor logit_N, const HaltingOptions& options, Stream) {
  const std::int64_t width = state_NC.dim(1);
  const bool is_first = options.loop == 0;
  const bool is_last = options.loop + 1 == options.num_loops;
  const auto ran = static_cast<std::int32_t>(options.loop + 1);
  const float threshold = options.threshold;
  float* const means = mean_NC.data<float>();
  float* const states = state_NC.data<float>();
  float* const weights = weight_N.data<float>();
  float* const remainders = remainder_N.data<float>();
  std::int32_t* const loops = loops_N.data<std::int32_t>();
  const float* const previous = is_first ? nullptr : previous_NC.data<float>();
  const float* const logits = logit_N.data<float>();
  const auto row_bytes = static_cast<std::size_t>(width) * sizeof(float);

  parallel_for(state_NC.dim(0), kHaltingRows, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      float* const mean = means + n * width;
      float* const state = states + n * width;
      if (is_first) {
        remainders[n] = 1.0F;
        loops[n] = 0;
        std::memset(mean, 0, row_bytes);
      }
      if (loops[n] > 0) {
        weights[n] = 0.0F;
        if (state != previous + n * width) std::memcpy(state, previous + n * width, row_bytes);
        continue;
      }
      const float p = sigmoid(logits[n]);
      const bool halts = is_last || 1.0F - remainders[n] + p > threshold;
      const float weight = halts ? remainders[n] : p;
      if (halts) {
        loops[n] = ran;
      } else {
        remainders[n] -= p;
      }
      weights[n] = weight;
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) mean[c] += weight * state[c];
    }
  });
}

void halting_backward(Tensor dlogit_N, Tensor dremainder_N, Tensor dstate_NC, Tensor dprevious_NC,
                      Tensor dmean_NC, Tensor dponder_N, Tensor state_NC, Tensor weight_N, Tensor loops_N,
                      std::int64_t loop, Stream) {
  const std::int64_t width = state_NC.dim(1);
  const auto ran = static_cast<std::int32_t>(loop + 1);
  float* const dlogits = dlogit_N.data<float>();
  float* const dremainders = dremainder_N.data<float>();
  float* const dstates = dstate_NC.data<float>();
  float* const dprevious = dprevious_NC.data<float>();
  const float* const dmeans = dmean_NC.data<float>();
  const float* const dponders = dponder_N.data<float>();
  const float* const states = state_NC.data<float>();
  const float* const weights = weight_N.data<float>();
  const std::int32_t* const loops = loops_N.data<std::int32_t>();
  const auto row_bytes = static_cast<std::size_t>(width) * sizeof(float);

  parallel_for(state_NC.dim(0), kHaltingRows, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      float* const dstate = dstates + n * width;
      dlogits[n] = 0.0F;
      if (loops[n] < ran) {
        std::memcpy(dprevious + n * width, dstate, row_bytes);
        std::memset(dstate, 0, row_bytes);
        continue;
      }
      std::memset(dprevious + n * width, 0, row_bytes);
      const float* const dmean = dmeans + n * width;
      const float* const state = states + n * width;
      const float weight = weights[n];
      float dweight = 0.0F;
#pragma omp simd reduction(+ : dweight)
      for (std::int64_t c = 0; c < width; ++c) dweight += dmean[c] * state[c];
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) dstate[c] += weight * dmean[c];
      if (loops[n] == ran) {
        dremainders[n] = dweight + dponders[n];
      } else {
        // The weight is p, by which the remainder of the row's last loop falls.
        dlogits[n] = (dweight - dremainders[n]) * weight * (1.0F - weight);
      }
    }
  });
}

void ponder_loss(Tensor loss_1, Tensor dponder_N, Tensor remainder_N, Tensor loops_N, Tensor counted_N,
                 float cost, float scale, Stream) {
  float* const dponder = dponder_N.data<float>();
  const float* const remainder = remainder_N.data<float>();
  const std::int32_t* const loops = loops_N.data<std::int32_t>();
  const std::int32_t* const counted = counted_N.data<std::int32_t>();
  double sum = 0.0;
  for (std::int64_t n = 0; n < remainder_N.num_elements(); ++n) {
    const bool counts = counted[n] >= 0;
    dponder[n] = counts ? cost * scale : 0.0F;
    if (counts) sum += static_cast<double>(loops[n]) + static_cast<double>(remainder[n]);
  }
  float* const loss = loss_1.data<float>();
  *loss = static_cast<float>(*loss + static_cast<double>(cost) * sum);
}

TRIREME_END_ISA
