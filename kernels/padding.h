// Where rows of tokens have ended.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// marks[b, s] = s < lengths[b] ? 0 : padding, of int32 and contiguous: documents of attention, say, or what
// counts of a loss.
void mark_padding(Tensor marks_BS, Tensor lengths_B, std::int32_t padding, Stream stream);

}  // namespace trireme
