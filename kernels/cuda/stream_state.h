// What a CUDA stream of ours consists of.
#pragma once

#include <cstdint>
#include <vector>

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
  // Memory for kernels' intermediate results, at least so large, valid until the next call. Work of one
  // stream is done in order, so each op may use all of it.  What was too small is kept until the stream ends:
  // to free it would wait for all that the device does, which may be waiting for a peer that waits for us.
  void* scratch(std::int64_t size_bytes) { return grown(scratch_, size_bytes); }
  // The same again, of cuBLASLt: an op may use both.
  void* workspace(std::int64_t size_bytes) { return grown(workspace_, size_bytes); }

 private:
  struct Memory {
    void* data = nullptr;
    std::int64_t size_bytes = 0;
  };

  void* grown(Memory& memory, std::int64_t size_bytes);

  Device device_;
  cudaStream_t handle_ = nullptr;
  Memory scratch_;
  Memory workspace_;
  std::vector<void*> outgrown_;
};

// Makes a device the calling thread's current one, which launches and allocations need.  It stays so: whoever
// needs a device calls this, and nobody goes back, for to visit device 0 is to take memory there.
void make_current(Device device);

}  // namespace trireme::cuda
