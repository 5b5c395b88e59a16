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

// An operation that other processes take part in.
struct VgpuJoint {
  // It is put into the stream, as operation `op`: once or, captured, at each launch of the graph.
  void* (*begin)(void* context, uint32_t op);
  // With what begin() gave: called when it is the operation's turn, and again and again until it returns
  // other than 0; until then the stream stands.
  int (*attempt)(void* begun, uint8_t* const* bytes);
  void (*end)(void* begun);
  void (*release)(void* context);
};

// The same for such an operation.
cudaError_t vgpu_submit_joint(const char* name, cudaStream_t stream, const VgpuOperand* operands,
                              int num_operands, VgpuJoint joint, void* context);
// Goes on with the operation and what it waits for, as far as that can be done now; with 0: with all that is
// submitted, where streams are eager.  -1: another thread is inside CUDA; 0: not yet all done; 1: done.
int vgpu_advance(uint32_t op);
// `stuck` is called, in the thread that waits, while a wait of the host for a stream can't go on.
void vgpu_on_stuck(void (*stuck)(double seconds_waited));
// The device of a stream; -1 if it is none.
int vgpu_device_of(cudaStream_t stream);
// Ends the process with a report; the finding is one of report.h, by name.
[[noreturn]] void vgpu_give_up(const char* finding, const char* what);
// The exit status that the program ends with, once it does.
int vgpu_exit_status();
}
#pragma GCC visibility pop
