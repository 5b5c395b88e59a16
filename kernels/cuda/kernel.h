// A kernel together with the shape of its blocks: what its launches, and the table of occupancy that a test
// keeps, agree on.
#pragma once

#include <cstdint>
#include <vector>

#include <cuda_runtime_api.h>

#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {

// Runs a kernel of `grid` blocks of `block` threads on the stream's device, the calling thread's current one.
// No blocks are no work.
void launch_kernel(const void* kernel, dim3 grid, dim3 block, std::int64_t dynamic_shared_bytes,
                   void** arguments, const StreamState& stream);

// What the table of occupancy needs to know of a kernel.
class KernelShape {
 public:
  KernelShape(const void* kernel, int num_threads, int shared_bytes);
  KernelShape(const KernelShape&) = delete;
  KernelShape& operator=(const KernelShape&) = delete;

  // Of all kernels that are variables of namespaces, from the start of main() on.
  static const std::vector<const KernelShape*>& all();

  const void* function() const { return function_; }
  int threads() const { return threads_; }  // of a block
  int dynamic_shared_bytes() const { return dynamic_shared_bytes_; }

 private:
  const void* function_;
  int threads_;
  int dynamic_shared_bytes_;
};

// Made before main(), it lives as long as the program.
template <typename... Parameters>
class Kernel : public KernelShape {
 public:
  Kernel(void (*kernel)(Parameters...), int num_threads, int shared_bytes = 0)
      : KernelShape(reinterpret_cast<const void*>(kernel), num_threads, shared_bytes) {}

  // On the stream's device, which is the calling thread's current one.  No blocks are no work.
  void launch(std::int64_t num_blocks, const StreamState& stream, Parameters... parameters) const {
    launch(dim3(static_cast<unsigned>(num_blocks)), stream, parameters...);
  }
  void launch(dim3 grid, const StreamState& stream, Parameters... parameters) const {
    void* arguments[] = {&parameters...};
    launch_kernel(function(), grid, dim3(static_cast<unsigned>(threads())), dynamic_shared_bytes(), arguments,
                  stream);
  }
};

}  // namespace trireme::cuda
