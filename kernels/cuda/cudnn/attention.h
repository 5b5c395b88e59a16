// cuDNN's attention, as far as it goes: kernels/cuda/attention.cpp asks it first where the caller wants it.
#pragma once

#include <functional>

#include "kernels/attention.h"

namespace trireme::cuda::cudnn {

// As attention_forward and attention_backward are, of calls that are not empty.  False, and the work is still
// to be done, where cuDNN isn't to be asked (float32, a window, ALiBi, documents, dropout, deterministic
// backward, causal with T != S, rows that aren't aligned to 16 bytes) or refuses all it knows: the log says
// so once for each reason.  With AttentionLibrary::kQuicker also where `ours`, which does the same work by
// our kernels, has shown to be quicker.
//
// The first call of a shape that isn't part of a graph makes a plan and keeps it for the process.
bool attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, const std::function<void()>& ours, Stream stream);
bool attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, const std::function<void()>& ours, Stream stream);

}  // namespace trireme::cuda::cudnn
