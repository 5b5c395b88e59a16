#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#pragma GCC visibility push(default)
#include <nccl.h>
#pragma GCC visibility pop

namespace trireme::vgpu {

// 0: not known here.
size_t size_of(ncclDataType_t type);
const char* name_of(ncclDataType_t type);

// out = the sum or maximum of the terms, in their order; of bfloat16 in float, rounded once.  `out` may be
// one of them.  As NCCL's, a maximum passes over NaN.
void reduce(uint8_t* out, const std::vector<const uint8_t*>& terms, size_t count, ncclDataType_t type,
            ncclRedOp_t op);

}  // namespace trireme::vgpu
