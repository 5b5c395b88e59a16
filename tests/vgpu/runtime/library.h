// What the virtual libraries beside libcudart need of it: operations of their own on its streams.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)
#include <cuda_runtime_api.h>

extern "C" {

// `height` rows of `width` bytes of memory of a device.
struct VgpuOperand {
  void* begin;
  size_t pitch;
  size_t width;
  size_t height;
  int is_written;  // after it is read, if it is that, too
  int is_read;
};

// Puts `execute(context, bytes)` on the stream under a name: bytes[i] is where operand i lies for the host.
// That operands are in bounds is checked now; that nobody else touches them at that time, and that what is
// read has been written, when it is executed.  `context` must live until `release(context)`.
cudaError_t vgpu_submit(const char* name, cudaStream_t stream, const VgpuOperand* operands, int num_operands,
                        void (*execute)(void* context, uint8_t* const* bytes), void* context,
                        void (*release)(void* context));
}
#pragma GCC visibility pop
