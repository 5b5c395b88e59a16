// Programs whose threads don't come together as they should; the argument says which.
#include "program.h"

__global__ void barrier_in_branch(int* out) {
  if (threadIdx.x < 16) {
    __syncthreads();
    out[threadIdx.x] = 1;
  } else {
    out[threadIdx.x] = 2;
  }
  __syncthreads();
}

__global__ void barrier_for_one_warp(int* out) {
  if (threadIdx.x < 32) {
    for (int i = 0; i < 2; ++i) __syncthreads();
  } else {
    asm volatile("bar.sync 1;");
  }
  out[threadIdx.x] = 1;
}

__global__ void shuffle_in_branch(int* out) {
  int value = threadIdx.x;
  if (threadIdx.x < 16) value += __shfl_xor_sync(0xffffffff, value, 1);
  out[threadIdx.x] = value;
}

__global__ void not_in_own_mask(int* out) {
  out[threadIdx.x] = __ballot_sync(0x0000ffff, 1);
}

__global__ void masks_disagree(int* out) {
  out[threadIdx.x] = __ballot_sync(threadIdx.x == 3 ? 0x0000000f : 0xffffffff, 1);
}

__global__ void mma_in_branch(float* out) {
  if (threadIdx.x < 30) {
    float d[4];
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4}, {%4}, {%5,%5,%5,%5};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(0), "f"(0.0f));
    out[threadIdx.x] = d[0];
  }
  out[threadIdx.x + 32] = 0;
}

__global__ void undefined_register(int* out) {
  int value;
  asm volatile("{ .reg .b32 t; add.s32 %0, t, 1; }" : "=r"(value));
  out[threadIdx.x] = value;
}

// Defined in half of the lanes only.
__global__ void undefined_in_some_lanes(int* out) {
  int value;
  asm volatile("{ .reg .b32 t; .reg .pred p; setp.lt.u32 p, %1, 16; @p mov.b32 t, 1; mov.b32 %0, t; }"
               : "=r"(value)
               : "r"(threadIdx.x));
  out[threadIdx.x] = value;
}

__global__ void endless(int* out) {
  while (atomicAdd(out, 0) == 0) {
  }
}

int main(int, char** argv) {
  const std::string which = argv[1];
  DeviceArray<int> out(std::vector<int>(64, 0));
  if (which == "barrier_in_branch") barrier_in_branch<<<1, 32>>>(out.get());
  if (which == "barrier_for_one_warp") barrier_for_one_warp<<<1, 64>>>(out.get());
  if (which == "shuffle_in_branch") shuffle_in_branch<<<1, 32>>>(out.get());
  if (which == "not_in_own_mask") not_in_own_mask<<<1, 32>>>(out.get());
  if (which == "masks_disagree") masks_disagree<<<1, 32>>>(out.get());
  if (which == "mma_in_branch") mma_in_branch<<<1, 32>>>(reinterpret_cast<float*>(out.get()));
  if (which == "undefined_register") undefined_register<<<1, 32>>>(out.get());
  if (which == "undefined_in_some_lanes") undefined_in_some_lanes<<<1, 32>>>(out.get());
  if (which == "endless") endless<<<1, 32>>>(out.get());
  CUDA(cudaDeviceSynchronize());
}
