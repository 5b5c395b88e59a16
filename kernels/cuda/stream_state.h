// What a CUDA stream of ours consists of.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels/device.h"

namespace trireme::cuda {

class StreamState {
 public:
  explicit StreamState(Device device);
  ~StreamState();
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  Device device() const { return device_; }
  cudaStream_t handle() const { return handle_; }
  // See runtime.h.
  void* scratch(std::int64_t size_bytes);

 private:
  Device device_;
  cudaStream_t handle_ = nullptr;
  void* scratch_ = nullptr;
  std::int64_t scratch_bytes_ = 0;
};

// Makes a device the calling thread's current one while it lives.
class DeviceScope {
 public:
  explicit DeviceScope(Device device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
};

}  // namespace trireme::cuda
