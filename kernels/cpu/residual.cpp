#include "kernels/residual.h"

#include <cstring>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/residual.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

void add_residual(Tensor sum_NC, Tensor residual_NC, Tensor branch_NC, Tensor row_C, Dropout dropout,
                  Stream) {
  const std::int64_t width = sum_NC.dim(1);
  float* const sums = sum_NC.data<float>();
  const float* const residuals = residual_NC.data<float>();
  const float* const branches = branch_NC ? branch_NC.data<float>() : nullptr;
  const float* const row = row_C ? row_C.data<float>() : nullptr;
  const DropoutMask mask(dropout);
  const DropoutMask* const mask_if_any = dropout ? &mask : nullptr;
  parallel_for(sum_NC.dim(0), 8, [=](std::int64_t begin, std::int64_t end) {
    float* const factors = mask_if_any == nullptr ? nullptr : scratch_of_thread(width);
    for (std::int64_t n = begin; n < end; ++n) {
      float* const sum = sums + n * width;
      const float* const residual = residuals + n * width;
      if (branches != nullptr) {
        add_branch(sum, residual, branches + n * width, factors, mask_if_any, n, width);
      } else if (sum != residual) {
        std::memcpy(sum, residual, static_cast<std::size_t>(width) * sizeof(float));
      }
      if (row == nullptr) continue;
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) sum[c] += row[c];
    }
  });
}

TRIREME_END_ISA
