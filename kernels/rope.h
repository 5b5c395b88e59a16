// Rotary position embedding (Su et al. 2021).
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// Turns each head of x[B, T, H, D] in place: for i < D / 2
//
//     x[i]         <-  x[i] cos - x[i + D / 2] sin
//     x[i + D / 2] <-  x[i + D / 2] cos + x[i] sin
//
// with cos, sin[first_position + t, i] of tables [P, D / 2]: the halves of a head are paired, as Llama and
// Qwen have it, and which angle belongs to which position is the tables' matter.  Rows of x may lie apart.
// REQUIRES: D is even, first_position + T <= P.
void rope_forward(Tensor x_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position, Stream stream);

// Turns a gradient back: the inverse, which is the transpose.
void rope_backward(Tensor dx_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position, Stream stream);

}  // namespace trireme
