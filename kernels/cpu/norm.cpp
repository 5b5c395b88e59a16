#include "kernels/norm.h"

#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/residual.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

struct Moments {
  float mean, variance;
};

// Not inlined: a row has the same moments to the last bit, whether it was just summed or not.
//
// Around 0, as RMSNorm takes them.
[[gnu::noinline]] static Moments raw_moments(const float* row, std::int64_t width) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t c = 0; c < width; ++c) squares += row[c] * row[c];
  return {0.0F, squares / static_cast<float>(width)};
}

[[gnu::noinline]] static Moments central_moments(const float* row, std::int64_t width) {
  const float count = static_cast<float>(width);
  float total = 0.0F;
#pragma omp simd reduction(+ : total)
  for (std::int64_t c = 0; c < width; ++c) total += row[c];
  const float mean = total / count;
  // Around a mean that is nearly right, which the rest then corrects: large means cost no digits.
  float rest = 0.0F;
  float squares = 0.0F;
#pragma omp simd reduction(+ : rest, squares)
  for (std::int64_t c = 0; c < width; ++c) {
    const float d = row[c] - mean;
    rest += d;
    squares += d * d;
  }
  return {mean + rest / count, (squares - rest * (rest / count)) / count};
}

void residual_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor residual_NC,
                           Tensor branch_NC, Tensor weight_C, Tensor bias_C, float epsilon, Dropout dropout,
                           Stream) {
  const std::int64_t width = residual_NC.dim(1);
  const float* const residual = residual_NC.data<float>();
  const float* const branch = branch_NC ? branch_NC.data<float>() : nullptr;
  float* const sum = branch_NC ? sum_NC.data<float>() : nullptr;
  float* const y = y_NC.data<float>();
  float* const means = mean_N ? mean_N.data<float>() : nullptr;
  float* const rstds = rstd_N.data<float>();
  const float* const weight = weight_C.data<float>();
  const float* const bias = mean_N ? bias_C.data<float>() : nullptr;
  const DropoutMask mask(dropout);
  const DropoutMask* const mask_if_any = dropout ? &mask : nullptr;

  parallel_for(residual_NC.dim(0), 8, [=](std::int64_t begin, std::int64_t end) {
    float* const factors = mask_if_any == nullptr ? nullptr : scratch_of_thread(width);
    for (std::int64_t n = begin; n < end; ++n) {
      const float* row = residual + n * width;
      if (branch != nullptr) {
        add_branch(sum + n * width, row, branch + n * width, factors, mask_if_any, n, width);
        row = sum + n * width;
      }
      const auto [mean, variance] = means != nullptr ? central_moments(row, width) : raw_moments(row, width);
      const float rstd = 1.0F / __builtin_sqrtf(variance + epsilon);
      rstds[n] = rstd;
      float* const out = y + n * width;
      if (means == nullptr) {
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) out[c] = row[c] * rstd * weight[c];
      } else {
        means[n] = mean;
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) out[c] = (row[c] - mean) * rstd * weight[c] + bias[c];
      }
    }
  });
}

// One row: dsum += the gradient through the norm, and this row's share of dweight and dbias.
inline void layer_norm_row_backward(float* dsum, float* dweight, float* dbias, const float* dy,
                                    const float* sum, float mean, float rstd, const float* weight,
                                    std::int64_t width) {
  float dot_1 = 0.0F;     // of the gradient of the normalised row with ones
  float dot_norm = 0.0F;  // ... and with the normalised row
#pragma omp simd reduction(+ : dot_1, dot_norm)
  for (std::int64_t c = 0; c < width; ++c) {
    const float normalised = (sum[c] - mean) * rstd;
    const float d = dy[c] * weight[c];
    dot_1 += d;
    dot_norm += d * normalised;
    dweight[c] += dy[c] * normalised;
    dbias[c] += dy[c];
  }
  const float mean_1 = dot_1 / static_cast<float>(width);
  const float mean_norm = dot_norm / static_cast<float>(width);
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) {
    const float normalised = (sum[c] - mean) * rstd;
    dsum[c] += rstd * (dy[c] * weight[c] - mean_1 - normalised * mean_norm);
  }
}

inline void rms_norm_row_backward(float* dsum, float* dweight, const float* dy, const float* sum, float rstd,
                                  const float* weight, std::int64_t width) {
  float dot_norm = 0.0F;  // of the gradient of the normalised row with that row
#pragma omp simd reduction(+ : dot_norm)
  for (std::int64_t c = 0; c < width; ++c) {
    const float normalised = sum[c] * rstd;
    dot_norm += dy[c] * weight[c] * normalised;
    dweight[c] += dy[c] * normalised;
  }
  const float mean_norm = dot_norm / static_cast<float>(width);
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) dsum[c] += rstd * (dy[c] * weight[c] - sum[c] * rstd * mean_norm);
}

void residual_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dbias_C, Tensor dy_NC,
                            Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor weight_C, Dropout dropout,
                            Stream) {
  const std::int64_t width = sum_NC.dim(1);
  float* const dsum = dsum_NC.data<float>();
  float* const dbranch = dbranch_NC ? dbranch_NC.data<float>() : nullptr;
  const float* const dy = dy_NC.data<float>();
  const float* const sum = sum_NC.data<float>();
  const float* const mean = mean_N ? mean_N.data<float>() : nullptr;
  const float* const rstd = rstd_N.data<float>();
  const float* const weight = weight_C.data<float>();
  const DropoutMask mask(dropout);
  const DropoutMask* const mask_if_any = dropout ? &mask : nullptr;

  // Per range of rows: its sums for dweight, then, if there is one, for dbias.
  const std::int64_t num_ranges = num_column_sum_ranges(sum_NC.dim(0));
  const std::int64_t num_sums = (mean != nullptr ? 2 : 1) * width;
  float* const partial = scratch_of_op(num_ranges * num_sums);
  parallel_for(sum_NC.dim(0), kColumnSumRows, [=](std::int64_t begin, std::int64_t end) {
    float* const sums = partial + begin / kColumnSumRows * num_sums;
    std::memset(sums, 0, static_cast<std::size_t>(num_sums) * sizeof(float));
    float* const factors = mask_if_any == nullptr ? nullptr : scratch_of_thread(width);
    for (std::int64_t n = begin; n < end; ++n) {
      float* const row = dsum + n * width;
      const float* const d = dy + n * width;
      const float* const x = sum + n * width;
      if (mean == nullptr) {
        rms_norm_row_backward(row, sums, d, x, rstd[n], weight, width);
      } else {
        layer_norm_row_backward(row, sums, sums + width, d, x, mean[n], rstd[n], weight, width);
      }
      if (dbranch != nullptr) drop_row(dbranch + n * width, row, factors, mask_if_any, n, width);
    }
  });
  add_partial_column_sums(dweight_C.data<float>(), partial, num_ranges, num_sums, width);
  if (mean == nullptr) return;
  add_partial_column_sums(dbias_C.data<float>(), partial + width, num_ranges, num_sums, width);
}

TRIREME_END_ISA
