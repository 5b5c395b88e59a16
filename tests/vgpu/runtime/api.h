#pragma once

// What the files that define the functions of libcudart share.  The CUDA headers declare the functions, with
// the visibility that they need.
#pragma GCC visibility push(default)
#include <cuda_runtime_api.h>
#pragma GCC visibility pop

#include <mutex>
#include <string>

#include "tests/vgpu/counters.h"
#include "tests/vgpu/runtime/streams.h"

namespace trireme::vgpu {

// What the calls of a program leave behind.
struct RuntimeState {
  std::recursive_mutex mutex;        // one call at a time; a host function may call back
  cudaError_t sticky = cudaSuccess;  // a kernel failed: nothing works any more
  uint32_t peers[8] = {};            // device -> bit per device that it may access
  unsigned device_flags = 0;
  VgpuCounters counters = {};  // without what kernels count

  static RuntimeState& get();
};

// The calling thread's.
extern thread_local int current_device;
extern thread_local cudaError_t last_error;
extern thread_local const char* current_call;

// The body of every function of the API: f() under the lock, its error remembered.
template <class F>
cudaError_t api_call(const char* name, F f) {
  RuntimeState& state = RuntimeState::get();
  const std::lock_guard lock(state.mutex);
  const char* const outer = current_call;
  current_call = name;
  cudaError_t error = state.sticky != cudaSuccess ? state.sticky : f();
  if (error == cudaSuccess) error = state.sticky;  // raised while f() waited
  current_call = outer;
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

// The line of a report that names the function that the program called.
std::string where_called();

// The stream of a handle, on the current device if it is a default stream.
Stream* stream_of(cudaStream_t handle);

inline Stream& default_stream() {
  return *stream_of(nullptr);
}

}  // namespace trireme::vgpu
