#include "kernels/elementwise.h"

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

void fill(Tensor x, float value, Stream) {
  float* const p = x.data<float>();
  parallel_for(x.num_elements(), 1 << 16, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) p[i] = value;
  });
}

TRIREME_END_ISA
