// What attention.cpp calls: each chooses among the kernels' instantiations by width of head and launches one
// (or a few, one after the other).
#pragma once

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/dtype.h"

namespace trireme::cuda {

void launch_attention_forward(const AttentionParameters<Bfloat16>& p, StreamState& stream);
void launch_attention_backward(const AttentionParameters<Bfloat16>& p, StreamState& stream);
void launch_attention_forward(const AttentionParameters<float>& p, StreamState& stream);
void launch_attention_backward(const AttentionParameters<float>& p, StreamState& stream);

}  // namespace trireme::cuda
