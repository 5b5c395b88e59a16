#include "kernels/rms_norm.h"

#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/residual.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

void residual_rms_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor rrms_N, Tensor residual_NC,
                               Tensor branch_NC, Tensor weight_C, float epsilon, Dropout dropout, Stream) {
  const std::int64_t width = residual_NC.dim(1);
  const float* const residual = residual_NC.data<float>();
  const float* const branch = branch_NC ? branch_NC.data<float>() : nullptr;
  float* const sum = branch_NC ? sum_NC.data<float>() : nullptr;
  float* const y = y_NC.data<float>();
  float* const rrms = rrms_N.data<float>();
  const float* const weight = weight_C.data<float>();
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
      float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
      for (std::int64_t c = 0; c < width; ++c) squares += row[c] * row[c];
      const float scale = 1.0F / __builtin_sqrtf(squares / static_cast<float>(width) + epsilon);
      float* const out = y + n * width;
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) out[c] = row[c] * scale * weight[c];
      rrms[n] = scale;
    }
  });
}

void residual_rms_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dy_NC,
                                Tensor sum_NC, Tensor rrms_N, Tensor weight_C, Dropout dropout, Stream) {
  const std::int64_t width = sum_NC.dim(1);
  float* const dsum = dsum_NC.data<float>();
  float* const dbranch = dbranch_NC ? dbranch_NC.data<float>() : nullptr;
  const float* const dy = dy_NC.data<float>();
  const float* const sum = sum_NC.data<float>();
  const float* const rrms = rrms_N.data<float>();
  const float* const weight = weight_C.data<float>();
  const DropoutMask mask(dropout);
  const DropoutMask* const mask_if_any = dropout ? &mask : nullptr;

  const std::int64_t num_ranges = num_column_sum_ranges(sum_NC.dim(0));
  float* const partial = scratch_of_op(num_ranges * width);
  parallel_for(sum_NC.dim(0), kColumnSumRows, [=](std::int64_t begin, std::int64_t end) {
    float* const dweight = partial + begin / kColumnSumRows * width;
    std::memset(dweight, 0, static_cast<std::size_t>(width) * sizeof(float));
    float* const factors = mask_if_any == nullptr ? nullptr : scratch_of_thread(width);
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const x = sum + n * width;
      const float* const d = dy + n * width;
      float* const dx = dsum + n * width;
      const float scale = rrms[n];
      float dot = 0.0F;  // of the gradient of the normalised row with that row
#pragma omp simd reduction(+ : dot)
      for (std::int64_t c = 0; c < width; ++c) {
        const float normalised = x[c] * scale;
        dot += d[c] * weight[c] * normalised;
        dweight[c] += d[c] * normalised;
      }
      const float mean = dot / static_cast<float>(width);
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) dx[c] += scale * (d[c] * weight[c] - x[c] * scale * mean);
      if (dbranch != nullptr) drop_row(dbranch + n * width, dx, factors, mask_if_any, n, width);
    }
  });
  add_partial_column_sums(dweight_C.data<float>(), partial, num_ranges, width, width);
}

TRIREME_END_ISA
