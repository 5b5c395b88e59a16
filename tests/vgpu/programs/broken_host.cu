// Programs with one mistake each on the host's side; the argument says which.
#include "program.h"

__global__ void fill(float* out, float value, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = value;
}

__global__ void __launch_bounds__(128) small_blocks(float* out) {
  out[threadIdx.x] = 1;
}

__global__ void big_shared(float* out) {
  extern __shared__ float s[];
  s[threadIdx.x] = 1;
  out[threadIdx.x] = s[threadIdx.x];
}

constexpr int kSize = 64;
constexpr size_t kBytes = kSize * sizeof(float);

// Two streams, with an event or without.
void two_streams(float* data, bool with_event, bool blocking) {
  cudaStream_t first, second;
  const unsigned flags = blocking ? cudaStreamDefault : cudaStreamNonBlocking;
  CUDA(cudaStreamCreateWithFlags(&first, flags));
  CUDA(cudaStreamCreateWithFlags(&second, flags));
  fill<<<1, 32, 0, first>>>(data, 1, kSize);
  cudaEvent_t event;
  CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  CUDA(cudaEventRecord(event, first));
  if (with_event) CUDA(cudaStreamWaitEvent(second, event, 0));
  fill<<<1, 32, 0, second>>>(data, 2, kSize);
  CUDA(cudaDeviceSynchronize());
  CUDA(cudaEventDestroy(event));
  CUDA(cudaStreamDestroy(first));
  CUDA(cudaStreamDestroy(second));
}

// A copy in the default stream, which a non-blocking stream does not wait for.
void copy_too_early(float* data) {
  cudaStream_t stream;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  fill<<<1, 32, 0, stream>>>(data, 1, kSize);
  std::vector<float> host(kSize);
  CUDA(cudaMemcpy(host.data(), data, kBytes, cudaMemcpyDeviceToHost));
  CUDA(cudaStreamDestroy(stream));
}

int main(int, char** argv) {
  const std::string which = argv[1];
  std::vector<float> host(kSize, 1.0f);
  DeviceArray<float> data(host);
  DeviceArray<float> fresh(kSize);
  float* d = data.get();
  if (which == "too_many_threads") fill<<<1, 1025>>>(d, 1, kSize);
  if (which == "no_blocks") fill<<<0, 32>>>(d, 1, kSize);
  if (which == "beyond_launch_bounds") small_blocks<<<1, 256>>>(d);
  if (which == "too_much_shared") big_shared<<<1, 64, 60000>>>(d);
  if (which == "wrong_copy") cudaMemcpy(d, host.data(), kBytes, cudaMemcpyDeviceToHost);
  if (which == "copy_beyond") cudaMemcpy(d, host.data(), kBytes + 4, cudaMemcpyHostToDevice);
  if (which == "copy_of_nothing") cudaMemcpy(host.data(), fresh.get(), kBytes, cudaMemcpyDeviceToHost);
  if (which == "set_beyond") cudaMemset(d + 1, 0, kBytes);
  if (which == "host_reads_device") host[0] = *static_cast<volatile float*>(d);
  if (which == "double_free") {
    float* p;
    CUDA(cudaMalloc(&p, 16));
    cudaFree(p);
    cudaFree(p);
  }
  if (which == "free_of_middle") cudaFree(d + 1);
  if (which == "free_of_host") cudaFree(host.data());
  if (which == "leak") {
    float* p;
    CUDA(cudaMalloc(&p, 16));
  }
  if (which == "missing_event") two_streams(d, false, true);
  if (which == "with_event") two_streams(d, true, false);
  if (which == "copy_too_early") copy_too_early(d);
  CUDA(cudaDeviceSynchronize());
}
