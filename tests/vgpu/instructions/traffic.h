#pragma once

#include "tests/vgpu/instructions/access.h"

namespace trireme::vgpu {

// What an access of a warp costs: 32-byte sectors of global memory; passes over the 32 banks of shared
// memory.
void count_global(const WarpAccess& a, Counters& counters);
void count_shared(const WarpAccess& a, Counters& counters);

}  // namespace trireme::vgpu
