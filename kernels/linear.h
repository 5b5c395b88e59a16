// Fully connected layers: y = x W^T + b, with the activation that follows fused where there is one.
// N rows, I inputs, O outputs; weights are stored [O, I].  Rows of x, y, w and their gradients may lie apart.
//
// Numbers are float32.  On a CUDA device all but dw and dbias may be bfloat16, all or none; there the
// preactivation, and what it is the y or the dx of, are contiguous.
#pragma once

#include "kernels/activation.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// y[N, O] = x[N, I] w[O, I]^T + bias[O].  `bias` may be empty.
void linear_forward(Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O, Stream stream);

// dx = dy w; dw += dy^T x; dbias += the column sums of dy: those of the three that aren't empty, so that what
// is waited for can be had before the rest.  dbias comes with dw.  Without dx, w isn't read, and without dw x
// isn't.
void linear_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
                     Stream stream);

// preactivation = x w^T + bias, y = activation(preactivation).  Backward needs `preactivation`; it may be y's
// memory where there is to be no backward pass.
void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream stream);

// As linear_backward, of a layer whose inputs are x = activation(preactivation): dx is the gradient before
// that activation, (dy w) activation'(preactivation), and its memory not the preactivation's.
void linear_backward_through(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                             Tensor w_OI, Tensor preactivation_NI, Activation activation, Stream stream);

}  // namespace trireme
