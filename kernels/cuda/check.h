// Errors of the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

namespace trireme::cuda {

// Ends the process, with the call, its place and CUDA's words for the error.
[[noreturn]] void fail(cudaError_t error, const char* call, const char* file, int line);

}  // namespace trireme::cuda

#define TRIREME_CUDA(call)                                             \
  do {                                                                 \
    const cudaError_t trireme_error = (call);                          \
    if (trireme_error != cudaSuccess) {                                \
      ::trireme::cuda::fail(trireme_error, #call, __FILE__, __LINE__); \
    }                                                                  \
  } while (false)
