// From an op, whose operands have been checked, to its implementation for a device.  Internal to kernels/.
//
//     TRIREME_DECLARE(fill)
//
//     void fill(Tensor x, float value, Stream stream) {
//       ... checks ...
//       TRIREME_RUN(fill, stream)(x, value, stream);
//     }
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/device.h"

// Declares op's implementations: those of cpu/, and the one of cuda/.
#define TRIREME_DECLARE(op) \
  TRIREME_DECLARE_CPU(op)   \
  namespace cuda {          \
  decltype(trireme::op) op; \
  }

// The implementation for the stream's device.  Without CUDA in the build, the one of cuda/ isn't referred to.
#define TRIREME_RUN(op, stream)                                     \
  ([&] {                                                            \
    if constexpr (::trireme::kHasCuda) {                            \
      if (!(stream).device().is_cpu()) return &::trireme::cuda::op; \
    }                                                               \
    return &TRIREME_CPU(op);                                        \
  }())
