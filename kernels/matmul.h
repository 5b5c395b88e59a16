// Matrix products.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

struct MatmulOptions {
  bool transpose_a = false;  // a is stored [K, M]
  bool transpose_b = false;  // b is stored [N, K]
  bool accumulate = false;   // c += a b, where otherwise c = a b
};

// c[M, N] = a[M, K] b[K, N].  Rows of each operand may lie apart (row stride).  REQUIRES: K >= 1.
// Numbers are float32.  On a CUDA device a and b may be bfloat16, c then is bfloat16 or float32.
// Deterministic, whatever the number of threads.
void matmul(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, Stream stream);

}  // namespace trireme
