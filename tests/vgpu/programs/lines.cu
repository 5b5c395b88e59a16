// Lines that are executed and lines that are not; lines_test.sh looks for the words behind them.
#include "program.h"

__device__ void called(float* data) {
  atomicAdd(data, 1.0F);  // inlined: executed
}

__device__ void not_called(float* data) {
  atomicAdd(data, 2.0F);  // inlined: not executed
}

__global__ void branches(float* data, int n) {
  if (n > 100) {
    not_called(data);         // branch: not executed
    atomicExch(data + 1, 3);  // branch: not executed
  } else {
    called(data);             // branch: executed
    atomicExch(data + 1, 4);  // branch: executed
  }
}

__global__ void never_launched(float* data) {
  *data = 5;  // kernel: not executed
}

int main(int argc, char**) {
  DeviceArray<float> data(2);
  CUDA(cudaMemset(data.get(), 0, 8));
  branches<<<1, 32>>>(data.get(), argc);
  if (argc > 100) never_launched<<<1, 1>>>(data.get());
  CUDA(cudaDeviceSynchronize());
}
