// Streams, events and copies: the right program gives the right numbers, whenever the work is done.  The
// argument says which program; "lazy" ones are to be run with TRIREME_VGPU_STREAMS=lazy.
#include "program.h"

__global__ void add(float* data, float value, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) data[i] += value;
}

__global__ void multiply(float* data, float value, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) data[i] *= value;
}

constexpr int kSize = 1000;
constexpr size_t kBytes = kSize * sizeof(float);
constexpr int kBlocks = (kSize + 127) / 128;

struct PinnedArray {
  PinnedArray() { CUDA(cudaMallocHost(&data, kBytes)); }
  ~PinnedArray() { cudaFreeHost(data); }
  float* data = nullptr;
};

// (0 + 1) * 3 across two streams, and back through page-locked memory.
void ordered_by_events() {
  DeviceArray<float> data(kSize);
  PinnedArray host;
  cudaStream_t first, second;
  CUDA(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
  CUDA(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  cudaEvent_t begin, added, end;
  for (cudaEvent_t* e : {&begin, &added, &end}) CUDA(cudaEventCreate(e));
  CUDA(cudaMemsetAsync(data.get(), 0, kBytes, first));
  CUDA(cudaEventRecord(begin, first));
  add<<<kBlocks, 128, 0, first>>>(data.get(), 1, kSize);
  CUDA(cudaEventRecord(added, first));
  CUDA(cudaStreamWaitEvent(second, added, 0));
  multiply<<<kBlocks, 128, 0, second>>>(data.get(), 3, kSize);
  CUDA(cudaMemcpyAsync(host.data, data.get(), kBytes, cudaMemcpyDeviceToHost, second));
  CUDA(cudaEventRecord(end, second));
  CUDA(cudaEventSynchronize(end));
  for (int i = 0; i < kSize; ++i) EXPECT(host.data[i] == 3);
  float milliseconds = -1;
  CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
  EXPECT(milliseconds >= 0);
  for (cudaEvent_t e : {begin, added, end}) CUDA(cudaEventDestroy(e));
  CUDA(cudaStreamDestroy(first));
  CUDA(cudaStreamDestroy(second));
}

// The default stream waits for blocking streams, and they for it.
void ordered_by_default_stream() {
  DeviceArray<float> data(kSize);
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  CUDA(cudaMemset(data.get(), 0, kBytes));
  add<<<kBlocks, 128, 0, stream>>>(data.get(), 2, kSize);
  multiply<<<kBlocks, 128>>>(data.get(), 5, kSize);
  add<<<kBlocks, 128, 0, stream>>>(data.get(), 1, kSize);
  for (const float x : data.to_host()) EXPECT(x == 11);
  CUDA(cudaStreamDestroy(stream));
}

// What the host writes to page-locked memory before it has waited reaches a copy that is still to come;
// pageable memory is read when the copy is called.
void lazy_copies() {
  DeviceArray<float> from_pinned(kSize), from_pageable(kSize);
  PinnedArray pinned;
  std::vector<float> pageable(kSize, 1.0f);
  for (int i = 0; i < kSize; ++i) pinned.data[i] = 1;
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  CUDA(cudaMemcpyAsync(from_pinned.get(), pinned.data, kBytes, cudaMemcpyHostToDevice, stream));
  CUDA(cudaMemcpyAsync(from_pageable.get(), pageable.data(), kBytes, cudaMemcpyHostToDevice, stream));
  EXPECT(cudaStreamQuery(nullptr) == cudaSuccess);
  for (int i = 0; i < kSize; ++i) pinned.data[i] = pageable[i] = 2;
  CUDA(cudaStreamSynchronize(stream));
  EXPECT(from_pinned.to_host()[7] == 2);
  EXPECT(from_pageable.to_host()[7] == 1);
  CUDA(cudaStreamDestroy(stream));
}

// The host reads the result of a copy for which it has not waited.
void lazy_result() {
  DeviceArray<float> data(std::vector<float>(kSize, 4.0f));
  PinnedArray host;
  host.data[0] = 0;
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  CUDA(cudaMemcpyAsync(host.data, data.get(), kBytes, cudaMemcpyDeviceToHost, stream));
  EXPECT(host.data[0] == 0);
  EXPECT(cudaStreamQuery(stream) == cudaErrorNotReady);
  CUDA(cudaStreamSynchronize(stream));
  EXPECT(host.data[0] == 4);
  CUDA(cudaStreamDestroy(stream));
}

void in_rows() {
  constexpr int kRows = 5, kWidth = 12;
  std::vector<float> host(kRows * kWidth), back(kRows * kWidth, -1.0f);
  for (size_t i = 0; i < host.size(); ++i) host[i] = i;
  float* data;
  size_t pitch;
  CUDA(cudaMallocPitch(&data, &pitch, kWidth * sizeof(float), kRows));
  const size_t width = kWidth * sizeof(float);
  CUDA(cudaMemset2D(data, pitch, 0, width, kRows));
  CUDA(cudaMemcpy2D(data, pitch, host.data(), width, width - 4, kRows, cudaMemcpyHostToDevice));
  CUDA(cudaMemcpy2D(back.data(), width, data, pitch, width, kRows, cudaMemcpyDeviceToHost));
  for (int i = 0; i < kRows * kWidth; ++i) EXPECT(back[i] == (i % kWidth == kWidth - 1 ? 0 : i));
  CUDA(cudaFree(data));
}

void host_function() {
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  int calls = 0;
  CUDA(cudaLaunchHostFunc(
      stream, [](void* p) { ++*static_cast<int*>(p); }, &calls));
  CUDA(cudaStreamSynchronize(stream));
  EXPECT(calls == 1);
  CUDA(cudaStreamDestroy(stream));
}

// Memory of both devices, copied between them and used by a kernel that may.
void two_devices() {
  DeviceArray<float> here(std::vector<float>(kSize, 1.0f));
  CUDA(cudaSetDevice(1));
  DeviceArray<float> there(kSize);
  CUDA(cudaMemcpyPeer(there.get(), 1, here.get(), 0, kBytes));
  int can = 0;
  CUDA(cudaDeviceCanAccessPeer(&can, 1, 0));
  EXPECT(can);
  CUDA(cudaDeviceEnablePeerAccess(0, 0));
  add<<<kBlocks, 128>>>(there.get(), 1, kSize);
  add<<<kBlocks, 128>>>(here.get(), 2, kSize);
  CUDA(cudaDeviceSynchronize());
  EXPECT(there.to_host()[5] == 2);
  CUDA(cudaSetDevice(0));
  EXPECT(here.to_host()[5] == 3);
}

// What a correct program may ask of a device without being told off.
void errors_and_properties() {
  cudaDeviceProp p;
  CUDA(cudaGetDeviceProperties(&p, 0));
  EXPECT(p.major == 8 && p.warpSize == 32 && p.multiProcessorCount > 0);
  int devices = 0;
  CUDA(cudaGetDeviceCount(&devices));
  EXPECT(cudaSetDevice(devices) == cudaErrorInvalidDevice);
  EXPECT(cudaPeekAtLastError() == cudaErrorInvalidDevice);
  EXPECT(cudaGetLastError() == cudaErrorInvalidDevice && cudaGetLastError() == cudaSuccess);
  EXPECT(std::string(cudaGetErrorName(cudaErrorMemoryAllocation)) == "cudaErrorMemoryAllocation");
  void* much = nullptr;
  EXPECT(cudaMalloc(&much, size_t{1} << 40) == cudaErrorMemoryAllocation);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  int blocks = 0;
  CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 128, 0));
  EXPECT(blocks == 16);
  cudaFuncAttributes attributes;
  CUDA(cudaFuncGetAttributes(&attributes, add));
  EXPECT(attributes.maxThreadsPerBlock == 1024);
  const char* name = nullptr;
  CUDA(cudaFuncGetName(&name, reinterpret_cast<const void*>(add)));
  EXPECT(std::string(name).find("add") != std::string::npos);
  EXPECT(cudaFuncSetAttribute(add, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) ==
         cudaErrorInvalidValue);
  cudaPointerAttributes where;
  DeviceArray<float> data(4);
  PinnedArray pinned;
  CUDA(cudaPointerGetAttributes(&where, data.get()));
  EXPECT(where.type == cudaMemoryTypeDevice);
  CUDA(cudaPointerGetAttributes(&where, pinned.data + 1));
  EXPECT(where.type == cudaMemoryTypeHost);
  CUDA(cudaPointerGetAttributes(&where, &blocks));
  EXPECT(where.type == cudaMemoryTypeUnregistered);
}

int main(int, char** argv) {
  const std::string which = argv[1];
  if (which == "events") ordered_by_events();
  if (which == "default_stream") ordered_by_default_stream();
  if (which == "lazy_copies") lazy_copies();
  if (which == "lazy_result") lazy_result();
  if (which == "rows") in_rows();
  if (which == "host_function") host_function();
  if (which == "two_devices") two_devices();
  if (which == "properties") errors_and_properties();
  std::printf("fine\n");
}
