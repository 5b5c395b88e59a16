// The fp32 kernels' launchers, an instantiation in a .cu of its own for each width of heads.
#pragma once

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {

template <int kWidth>
void launch_attention_forward_fp32(const AttentionParameters<float>& p, const StreamState& stream);

// REQUIRES: delta[b, h, t] is the dot product of the query's dout and out.
template <int kWidth>
void launch_attention_backward_fp32(const AttentionParameters<float>& p, const float* delta,
                                    const StreamState& stream);

void launch_attention_delta_fp32(const AttentionParameters<float>& p, float* delta,
                                 const StreamState& stream);

}  // namespace trireme::cuda
