#include "kernels/matmul.h"

#include "kernels/cuda/cublas_lt.h"

namespace trireme::cuda {

void matmul(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, Stream stream) {
  multiply({.c_MN = c_MN, .a = a, .b = b, .options = options}, stream);
}

}  // namespace trireme::cuda
