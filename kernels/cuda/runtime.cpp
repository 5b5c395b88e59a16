#include "kernels/cuda/runtime.h"

#include <algorithm>

#include <cuda_runtime_api.h>
#include <glog/logging.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/memory_label.h"
#include "kernels/memory_ledger.h"

namespace trireme::cuda {

void fail(cudaError_t error, const char* call, const char* file, int line) {
  LOG(FATAL) << file << ":" << line << ": " << call << ": " << cudaGetErrorString(error) << " ("
             << cudaGetErrorName(error) << ")";
}

void make_current(Device device) {
  TRIREME_CUDA(cudaSetDevice(device.index));
}

int num_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver and no device are no errors here
  return 0;
}

void* allocate(std::int64_t size_bytes, Device device) {
  make_current(device);
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<std::size_t>(size_bytes));
  if (error == cudaErrorMemoryAllocation) {
    std::size_t free = 0;
    std::size_t total = 0;
    TRIREME_CUDA(cudaMemGetInfo(&free, &total));
    LOG(FATAL) << out_of_memory_words(size_bytes, device, static_cast<std::int64_t>(free),
                                      static_cast<std::int64_t>(total));
  }
  TRIREME_CUDA(error);
  note_allocation(data, size_bytes, device);
  return data;
}

void release(void* data, Device device) {
  make_current(device);
  note_release(data);  // first: once it is free, another thread may be given it
  TRIREME_CUDA(cudaFree(data));
}

void* allocate_pinned(std::int64_t size_bytes, Device peer) {
  make_current(peer);
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, static_cast<std::size_t>(size_bytes));
  if (error == cudaErrorMemoryAllocation) {
    LOG(FATAL) << "out of memory: " << size_bytes << " bytes (" << (size_bytes >> 20)
               << " MiB) of pinned memory were asked for";
  }
  TRIREME_CUDA(error);
  return data;
}

void release_pinned(void* data) {
  TRIREME_CUDA(cudaFreeHost(data));
}

void zero(void* data, std::int64_t size_bytes, Device device) {
  make_current(device);
  if (size_bytes == 0) return;
  TRIREME_CUDA(cudaMemset(data, 0, static_cast<std::size_t>(size_bytes)));
  // Of device memory cudaMemset may return before it has begun, and other streams don't wait for it.
  TRIREME_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
}

void synchronize_device(Device device) {
  make_current(device);
  TRIREME_CUDA(cudaDeviceSynchronize());
}

StreamState::StreamState(Device device) : device_(device) {
  make_current(device);
  TRIREME_CUDA(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking));
}

StreamState::~StreamState() {
  make_current(device_);
  TRIREME_CUDA(cudaStreamSynchronize(handle_));
  TRIREME_CUDA(cudaStreamDestroy(handle_));
  outgrown_.insert(outgrown_.end(), {scratch_.data, workspace_.data});
  for (void* const data : outgrown_) {
    if (data != nullptr) release(data, device_);
  }
}

void* StreamState::grown(Memory& memory, std::int64_t size_bytes) {
  if (size_bytes > memory.size_bytes) {
    outgrown_.push_back(memory.data);
    // So that all that is outgrown is no more than what is used.
    size_bytes = std::max(size_bytes, 2 * memory.size_bytes);
    const MemoryLabel label("workspace of ops");
    memory = {allocate(size_bytes, device_), size_bytes};
  }
  return memory.data;
}

StreamState* make_stream(Device device) {
  CHECK(0 <= device.index && device.index < num_devices())
      << device.to_string() << " of " << num_devices() << " CUDA devices";
  return new StreamState(device);
}

void destroy(StreamState* stream) {
  delete stream;
}

void zero(void* data, std::int64_t size_bytes, const StreamState& stream) {
  TRIREME_CUDA(cudaMemsetAsync(data, 0, static_cast<std::size_t>(size_bytes), stream.handle()));
}

void synchronize(const StreamState& stream) {
  TRIREME_CUDA(cudaStreamSynchronize(stream.handle()));
}

namespace {

cudaEvent_t handle(void* event) {
  return static_cast<cudaEvent_t>(event);
}

// What was asked for by a query.
bool is_reached(cudaError_t query) {
  if (query == cudaErrorNotReady) {
    cudaGetLastError();  // which would give it to the next who asks
    return false;
  }
  TRIREME_CUDA(query);
  return true;
}

}  // namespace

void* make_event(Device device) {
  make_current(device);
  cudaEvent_t event = nullptr;
  TRIREME_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

void destroy_event(void* event) {
  TRIREME_CUDA(cudaEventDestroy(handle(event)));
}

void record(void* event, const StreamState& stream) {
  TRIREME_CUDA(cudaEventRecord(handle(event), stream.handle()));
}

void make_wait(const StreamState& stream, void* event) {
  TRIREME_CUDA(cudaStreamWaitEvent(stream.handle(), handle(event), 0));
}

void synchronize_event(void* event) {
  TRIREME_CUDA(cudaEventSynchronize(handle(event)));
}

bool is_reached(void* event) {
  return is_reached(cudaEventQuery(handle(event)));
}

bool is_done(const StreamState& stream) {
  return is_reached(cudaStreamQuery(stream.handle()));
}

void copy_rows(void* to, std::int64_t to_stride_bytes, const void* from, std::int64_t from_stride_bytes,
               std::int64_t row_bytes, std::int64_t num_rows, const StreamState& stream) {
  if (row_bytes == 0 || num_rows == 0) return;
  if (row_bytes == to_stride_bytes && row_bytes == from_stride_bytes) {
    TRIREME_CUDA(cudaMemcpyAsync(to, from, static_cast<std::size_t>(row_bytes * num_rows), cudaMemcpyDefault,
                                 stream.handle()));
    return;
  }
  TRIREME_CUDA(cudaMemcpy2DAsync(to, static_cast<std::size_t>(to_stride_bytes), from,
                                 static_cast<std::size_t>(from_stride_bytes),
                                 static_cast<std::size_t>(row_bytes), static_cast<std::size_t>(num_rows),
                                 cudaMemcpyDefault, stream.handle()));
}

}  // namespace trireme::cuda
