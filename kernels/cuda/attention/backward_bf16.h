// How the bf16 backward is instantiated: a .cu file per width of head.
#pragma once

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/dtype.h"

namespace trireme::cuda {

// REQUIRES: p.width <= kWidth.  Defined for 32, 64, 96 and 128.
template <int kWidth>
void launch_backward_bf16(const AttentionParameters<Bfloat16>& p, StreamState& stream);

}  // namespace trireme::cuda
