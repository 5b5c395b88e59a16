// A kernel together with the shape of its blocks: what its launches, and the table of occupancy that a test
// keeps, agree on.
#pragma once

#include <cstdint>
#include <vector>

#include <cuda_runtime_api.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {

// Of blocks of one dimension.
class KernelShape {
 public:
  KernelShape(const void* kernel, int num_threads, int shared_bytes);
  KernelShape(const KernelShape&) = delete;
  KernelShape& operator=(const KernelShape&) = delete;

  // Those that live, which are the program's if kernels are variables of namespaces.
  static const std::vector<const KernelShape*>& all();

  const void* function() const { return function_; }
  int threads() const { return threads_; }
  int dynamic_shared_bytes() const { return dynamic_shared_bytes_; }

 private:
  const void* function_;
  int threads_;
  int dynamic_shared_bytes_;
};

// REQUIRES: lives as long as the program.
template <typename... Parameters>
class Kernel : public KernelShape {
 public:
  Kernel(void (*kernel)(Parameters...), int num_threads, int shared_bytes = 0)
      : KernelShape(reinterpret_cast<const void*>(kernel), num_threads, shared_bytes) {}

  // On the stream's device, which is the calling thread's current one.  No blocks are no work.
  void launch(std::int64_t blocks, const StreamState& stream, Parameters... parameters) const {
    if (blocks == 0) return;
    // More than a block's 48 KiB must be asked for, on each device.
    if (dynamic_shared_bytes() > 48 * 1024) {
      TRIREME_CUDA(cudaFuncSetAttribute(function(), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        dynamic_shared_bytes()));
    }
    void* arguments[] = {&parameters...};
    TRIREME_CUDA(cudaLaunchKernel(function(), dim3(static_cast<unsigned>(blocks)),
                                  dim3(static_cast<unsigned>(threads())), arguments,
                                  static_cast<std::size_t>(dynamic_shared_bytes()), stream.handle()));
  }
};

}  // namespace trireme::cuda
