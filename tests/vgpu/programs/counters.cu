// Kernels whose traffic is known; tests.cmake has the numbers.
#include "program.h"

// 128 bytes in 4 sectors, read and written once per warp.
__global__ void coalesced(float* out, const float* in) {
  out[threadIdx.x] = in[threadIdx.x];
}

// Each lane reads its own sector.
__global__ void strided(float* out, const float* in) {
  out[threadIdx.x] = in[8 * threadIdx.x];
}

// A column of a matrix of 32 columns is in one bank: 32 passes; the row that is written needs one.
__global__ void column(float* out) {
  __shared__ float s[32][32];
  for (int row = 0; row < 32; ++row) s[row][threadIdx.x] = row;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x][0];
}

// 16 bytes a lane: four quarter-warps, each of which gets all banks.
__global__ void wide(float4* out) {
  __shared__ float4 s[32];
  s[threadIdx.x] = make_float4(1, 2, 3, 4);
  __syncthreads();
  out[threadIdx.x] = s[31 - threadIdx.x];
}

int main() {
  DeviceArray<float> in(std::vector<float>(256, 1.0f)), out(256);
  coalesced<<<1, 32>>>(out.get(), in.get());
  strided<<<1, 32>>>(out.get(), in.get());
  column<<<1, 32>>>(out.get());
  wide<<<1, 32>>>(reinterpret_cast<float4*>(out.get()));
  CUDA(cudaDeviceSynchronize());
}
