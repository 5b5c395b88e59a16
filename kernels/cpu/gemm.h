// The matrix product that matmul and the fully connected layers share.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/matmul.h"
#include "kernels/tensor.h"

TRIREME_BEGIN_ISA

// What happens to a block of the result as soon as it is complete, while it is in the cache.
struct GemmEpilogue {
  void (*function)(const void* context, std::int64_t row, std::int64_t num_rows, std::int64_t column,
                   std::int64_t num_columns) = nullptr;
  const void* context = nullptr;
};

// c = a b + bias, or c += a b; `bias`, of the result's width, may be nullptr.  REQUIRES: no bias with
// options.accumulate.  The order of every sum depends on K alone, so the result is the same for any number of
// threads.
void gemm(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, const float* bias = nullptr,
          GemmEpilogue epilogue = {});

TRIREME_END_ISA
