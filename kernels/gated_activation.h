// Gated linear units (Shazeer 2020): one half of a projection decides how much of the other passes.
#pragma once

#include "kernels/activation.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// y[N, F] = activation(gate) * up, where gate = x[:, :F] and up = x[:, F:] of x[N, 2 F].  With kSilu it is
// SwiGLU, with kGelu GEGLU.  Contiguous float32, on a CUDA device also
// bfloat16.
void gated_activation_forward(Tensor y_NF, Tensor x_NG, Activation activation, Stream stream);

// dx is overwritten; it may be x.
void gated_activation_backward(Tensor dx_NG, Tensor dy_NF, Tensor x_NG, Activation activation, Stream stream);

}  // namespace trireme
