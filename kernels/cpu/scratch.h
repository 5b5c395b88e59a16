// Memory that a CPU kernel needs while it runs: kept from call to call, so that a step allocates nothing.
#pragma once

#include <cstdint>

namespace trireme::cpu {

// Room for `count` floats, uninitialised, aligned to 64 bytes; good until the next call of the same function
// by the same thread.  The two never overlap: the thread that called an op uses the first for what its
// threads share, and each thread, itself included, the second for its own.
float* scratch_of_op(std::int64_t count);
float* scratch_of_thread(std::int64_t count);

}  // namespace trireme::cpu
