// Programs with one mistake each in shared memory; the argument says which.
#include "program.h"

__device__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

__device__ void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

// Another warp's write, without a barrier.
__global__ void missing_barrier(float* out) {
  __shared__ float s[64];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[threadIdx.x ^ 32];
}

// Another lane's write, without __syncwarp.
__global__ void missing_syncwarp(float* out) {
  __shared__ volatile float s[32];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}

// Two warps write different values.
__global__ void two_writers(float* out) {
  __shared__ float s[32];
  s[threadIdx.x % 32] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x % 32];
}

// The next round overwrites what others still read.
__global__ void missing_second_barrier(float* out) {
  __shared__ float s[64];
  float sum = 0;
  for (int round = 0; round < 3; ++round) {
    s[threadIdx.x] = round + threadIdx.x;
    __syncthreads();
    sum += s[63 - threadIdx.x];
  }
  out[threadIdx.x] = sum;
}

// An atomic counter, read without a barrier.
__global__ void atomic_and_read(float* out) {
  __shared__ int counter;
  if (threadIdx.x == 0) counter = 0;
  __syncthreads();
  atomicAdd(&counter, 1);
  out[threadIdx.x] = *const_cast<volatile int*>(&counter);
}

__global__ void uninitialised(float* out) {
  __shared__ float s[64];
  if (threadIdx.x < 32) s[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}

__global__ void beyond_static(float* out, int index) {
  __shared__ float s[64];
  s[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x + index];
}

__global__ void beyond_dynamic(float* out) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x + 1] = 1;
  out[threadIdx.x] = dynamic[threadIdx.x + 1];
}

__global__ void misaligned(float* out, int offset) {
  __shared__ float s[80];
  *reinterpret_cast<float4*>(&s[threadIdx.x / 4 * 4 + offset]) = make_float4(1, 2, 3, 4);
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x + offset];
}

__global__ void no_wait(float* out, const float* in) {
  __shared__ float4 s[64];
  copy_async(&s[threadIdx.x], in + 4 * threadIdx.x);
  asm volatile("cp.async.commit_group;");
  out[threadIdx.x] = s[threadIdx.x].x;
}

// Waits for the first of two copies and reads the second.
__global__ void short_wait(float* out, const float* in) {
  __shared__ float4 s[2][64];
  for (int stage = 0; stage < 2; ++stage) {
    copy_async(&s[stage][threadIdx.x], in + 4 * threadIdx.x);
    asm volatile("cp.async.commit_group;");
  }
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  out[threadIdx.x] = s[1][threadIdx.x].x;
}

// A wait is for the thread's own copies only.
__global__ void wait_without_barrier(float* out, const float* in) {
  __shared__ float4 s[64];
  copy_async(&s[threadIdx.x], in + 4 * threadIdx.x);
  asm volatile("cp.async.wait_all;" ::: "memory");
  out[threadIdx.x] = s[threadIdx.x ^ 32].x;
}

// ldmatrix reads rows that other lanes have written just before.
__global__ void ldmatrix_too_early(float* out) {
  __shared__ __align__(16) unsigned s[32];
  s[threadIdx.x % 32] = threadIdx.x % 32;
  unsigned r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(r)
               : "r"(shared_address(&s[threadIdx.x % 8 * 4])));
  out[threadIdx.x] = r;
}

// The barrier is for two warps, and the second waits at another one.
__global__ void wrong_named_barrier(float* out) {
  if (threadIdx.x < 32)
    asm volatile("bar.sync 1, 64;" ::: "memory");
  else
    asm volatile("bar.sync 2, 64;" ::: "memory");
  out[threadIdx.x] = 1;
}

// A producer's arrival makes its writes visible, but nobody told it when the buffer is free again.
__global__ void producer_too_fast(float* out) {
  __shared__ volatile float s[32];
  const int lane = threadIdx.x % 32;
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    if (threadIdx.x < 32) {
      s[lane] = round + lane;
      asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else {
      asm volatile("bar.sync 1, 64;" ::: "memory");
      sum += s[31 - lane];
    }
    if (round == 0) asm volatile("bar.sync 2, 64;" ::: "memory");
    if (round == 1 && threadIdx.x < 32) s[lane] = 0;
  }
  out[threadIdx.x] = sum;
}

int main(int, char** argv) {
  const std::string which = argv[1];
  DeviceArray<float> in(std::vector<float>(256, 1.0f));
  DeviceArray<float> out(64);
  if (which == "missing_barrier") missing_barrier<<<1, 64>>>(out.get());
  if (which == "missing_syncwarp") missing_syncwarp<<<1, 32>>>(out.get());
  if (which == "two_writers") two_writers<<<1, 64>>>(out.get());
  if (which == "missing_second_barrier") missing_second_barrier<<<1, 64>>>(out.get());
  if (which == "atomic_and_read") atomic_and_read<<<1, 64>>>(out.get());
  if (which == "uninitialised") uninitialised<<<1, 64>>>(out.get());
  if (which == "beyond_static") beyond_static<<<1, 64>>>(out.get(), 1);
  if (which == "beyond_dynamic") beyond_dynamic<<<1, 64, 256>>>(out.get());
  if (which == "misaligned") misaligned<<<1, 64>>>(out.get(), 1);
  if (which == "no_wait") no_wait<<<1, 64>>>(out.get(), in.get());
  if (which == "short_wait") short_wait<<<1, 64>>>(out.get(), in.get());
  if (which == "wait_without_barrier") wait_without_barrier<<<1, 64>>>(out.get(), in.get());
  if (which == "ldmatrix_too_early") ldmatrix_too_early<<<1, 32>>>(out.get());
  if (which == "wrong_named_barrier") wrong_named_barrier<<<1, 64>>>(out.get());
  if (which == "producer_too_fast") producer_too_fast<<<1, 64>>>(out.get());
  CUDA(cudaDeviceSynchronize());
}
