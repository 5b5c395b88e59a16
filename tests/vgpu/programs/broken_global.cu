// Programs with one mistake each in global memory; the argument says which.
#include "program.h"

__global__ void read_at(float* out, const float* in, int offset) {
  out[threadIdx.x] = in[static_cast<int>(threadIdx.x) + offset];
}

__global__ void write_at(float* out, int offset) {
  out[static_cast<int>(threadIdx.x) + offset] = 1;
}

__global__ void read_vector(float* out, const float* in, int offset) {
  const float4 v = reinterpret_cast<const float4*>(in + offset)[threadIdx.x % 8];
  out[threadIdx.x] = v.x + v.y + v.z + v.w;
}

__global__ void same_place(float* out) {
  out[threadIdx.x] = blockIdx.x;
}

__global__ void neighbour_block(float* data) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  data[i] = data[(i + blockDim.x) % (gridDim.x * blockDim.x)];
}

__global__ void atomic_and_plain(int* data) {
  if (blockIdx.x == 0)
    atomicAdd(data, 1);
  else
    *data = 0;
}

// Blocks take turns by a flag, but the first one forgets the fence.
__global__ void flag_without_fence(float* data, int* flag) {
  if (threadIdx.x != 0) return;
  if (blockIdx.x == 0) {
    data[0] = 42;
    atomicExch(flag, 1);
  } else {
    while (atomicAdd(flag, 0) == 0) {
    }
    data[1] = *const_cast<volatile float*>(data);
  }
}

__global__ void read_only_cache(float* data) {
  data[threadIdx.x] = 1;
  data[threadIdx.x] = __ldg(data + threadIdx.x) + 1;
}

int main(int, char** argv) {
  const std::string which = argv[1];
  DeviceArray<float> in(std::vector<float>(64, 1.0f));
  DeviceArray<float> out(64);
  DeviceArray<int> flag(std::vector<int>(1, 0));
  if (which == "read_beyond") read_at<<<1, 64>>>(out.get(), in.get(), 1);
  if (which == "read_before") read_at<<<1, 64>>>(out.get(), in.get(), -1);
  if (which == "write_beyond") write_at<<<1, 64>>>(out.get(), 1);
  if (which == "misaligned") read_vector<<<1, 64>>>(out.get(), in.get(), 1);
  if (which == "uninitialised") read_at<<<1, 64>>>(in.get(), out.get(), 0);
  if (which == "null_pointer") write_at<<<1, 64>>>(nullptr, 0);
  if (which == "same_place") same_place<<<2, 64>>>(out.get());
  if (which == "neighbour_block") neighbour_block<<<2, 32>>>(in.get());
  if (which == "atomic_and_plain") atomic_and_plain<<<2, 1>>>(flag.get());
  if (which == "flag_without_fence") flag_without_fence<<<2, 32>>>(out.get(), flag.get());
  if (which == "read_only_cache") read_only_cache<<<1, 32>>>(out.get());
  if (which == "host_pointer") {
    std::vector<float> host(64);
    write_at<<<1, 64>>>(host.data(), 0);
  }
  if (which == "use_after_free") {
    float* gone;
    CUDA(cudaMalloc(&gone, 256));
    CUDA(cudaFree(gone));
    write_at<<<1, 64>>>(gone, 0);
  }
  if (which == "other_device") {
    CUDA(cudaSetDevice(1));
    write_at<<<1, 64>>>(out.get(), 0);
  }
  CUDA(cudaDeviceSynchronize());
}
