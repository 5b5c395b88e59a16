#include "kernels/matmul.h"

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/isa.h"

TRIREME_BEGIN_ISA

void matmul(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, Stream) {
  gemm(c_MN, a, b, options);
}

TRIREME_END_ISA
