#include "kernels/cpu/scratch.h"

#include "kernels/buffer.h"

namespace trireme::cpu {
namespace {

float* at_least(Buffer& buffer, std::int64_t count) {
  const std::int64_t wanted = count * static_cast<std::int64_t>(sizeof(float));
  if (buffer.size_bytes() < wanted) {
    buffer = Buffer();  // frees before it allocates
    buffer = Buffer(wanted);
  }
  return static_cast<float*>(buffer.data());
}

}  // namespace

float* scratch_of_op(std::int64_t count) {
  thread_local Buffer buffer;
  return at_least(buffer, count);
}

float* scratch_of_thread(std::int64_t count) {
  thread_local Buffer buffer;
  return at_least(buffer, count);
}

}  // namespace trireme::cpu
