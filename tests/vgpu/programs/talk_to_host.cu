// printf, assert and trap in kernels; the argument says which.
#include <cassert>

#include "program.h"

__global__ void print(int n, float x) {
  if (threadIdx.x == 1)
    printf("thread %u: %d, %5.2f, %s, %c, 100%%, %lld\n", threadIdx.x, n, x, "text", 'c', 1ll << 40);
}

__global__ void check(int n) {
  assert(static_cast<int>(threadIdx.x) < n);
}

__global__ void trap() {
  asm volatile("trap;");
}

int main(int, char** argv) {
  const std::string which = argv[1];
  if (which == "print") {
    print<<<1, 2>>>(-7, 1.5f);
    CUDA(cudaDeviceSynchronize());
  } else if (which == "assert") {
    check<<<1, 32>>>(31);
    EXPECT(cudaDeviceSynchronize() == cudaErrorAssert);
    float* p;
    EXPECT(cudaMalloc(&p, 4) == cudaErrorAssert);  // nothing works after that
  } else if (which == "trap") {
    trap<<<1, 32>>>();
    EXPECT(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  }
}
