#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "tests/vgpu/runtime/streams.h"

namespace trireme::vgpu {

// A copy as the API asks for it.  kWaits: the function returns when it is done (cudaMemcpy); kMayWait: only
// where CUDA can't do it otherwise (cudaMemcpyAsync from or to pageable memory).
enum class CopyMode { kWaits, kMayWait };
cudaError_t copy(const void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                 size_t height, cudaMemcpyKind kind, Stream& stream, CopyMode mode);

cudaError_t fill(void* to, size_t pitch, int value, size_t width, size_t height, Stream& stream);

}  // namespace trireme::vgpu
