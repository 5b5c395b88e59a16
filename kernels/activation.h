// Activations, element by element.  Behind a fully connected layer they are fused with it: see linear.h.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

enum class Activation : std::uint8_t {
  kGeluTanh,  // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): Hendrycks & Gimpel 2016, the form GPT-2 uses
  kGelu,      // x Phi(x), Phi the normal distribution's cumulative function
  kRelu,      // max(x, 0)
  kSilu,      // x / (1 + exp(-x))
};

// y = activation(x).  y may be x.  Contiguous float32, on a CUDA device also bfloat16.
void activation_forward(Tensor y, Tensor x, Activation activation, Stream stream);

// dx = dy activation'(x).  dx may be dy.
void activation_backward(Tensor dx, Tensor dy, Tensor x, Activation activation, Stream stream);

}  // namespace trireme
