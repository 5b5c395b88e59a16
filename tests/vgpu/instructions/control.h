#pragma once

#include <cstdint>

#include "tests/vgpu/machine/kernel.h"

namespace trireme::vgpu {

Handler exit_handler();
// Whether the instruction does nothing but end all lanes that come to it.
bool is_exit(const Instr& instr);

// op[0] (64 bits) = op[1] (32 bits, unsigned).
Handler widen_handler();

// Gives the warp what the barrier reduced over all threads that were there (bar.red).
void finish_barrier(Warp& warp, const Instr& instr, uint32_t votes_for, uint32_t votes_against);

}  // namespace trireme::vgpu
