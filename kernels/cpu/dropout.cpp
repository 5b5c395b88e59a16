#include "kernels/dropout.h"

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

void dropout(Tensor y, Tensor x, Dropout dropout, Stream) {
  constexpr std::int64_t kRange = 1024;
  const float* const in = x.data<float>();
  float* const out = y.data<float>();
  const DropoutMask mask(dropout);
  parallel_for(x.num_elements(), kRange, [=](std::int64_t begin, std::int64_t end) {
    alignas(64) float factors[kRange];
    mask.draw(factors, begin, end - begin);
    for (std::int64_t i = begin; i < end; ++i) out[i] = in[i] * factors[i - begin];
  });
}

TRIREME_END_ISA
