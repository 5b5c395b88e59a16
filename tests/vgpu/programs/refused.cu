// An instruction that the virtual GPU doesn't know.
#include <mma.h>

#include "program.h"

__global__ void wmma(float* out) {
  using namespace nvcuda;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> c;
  wmma::fill_fragment(c, 0.0f);
  wmma::store_matrix_sync(out, c, 16, wmma::mem_row_major);
}

int main() {
  DeviceArray<float> out(256);
  wmma<<<1, 32>>>(out.get());
  CUDA(cudaDeviceSynchronize());
}
