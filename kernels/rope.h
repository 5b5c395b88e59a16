// Rotary position embedding (Su et al. 2021), with the pairs of Llama's and Qwen's checkpoints: element i of
// a head's first half goes with element i of its second half.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// Fills tables for positions 0 to P - 1 of heads of width D = 2 R, in the CPU's memory:
//
//     cos[P, R] = amplitude cos(p frequencies[r]),  sin[P, R] = amplitude sin(p frequencies[r])
//
// Computed in double, rounded once.  The frequencies are the caller's: theta^(-2r/D) in the paper, other ones
// where a model stretches its context.  `amplitude` is what YaRN (Peng et al. 2023) scales queries and keys
// by; 1 elsewhere.
void rope_table(Tensor cos_PR, Tensor sin_PR, std::span<const double> frequencies, double amplitude = 1.0);

// Rotates queries or keys x[B, T, H, D] in place.  With a and b the halves of a head:
//
//     a, b = a cos - b sin, b cos + a sin
//
// at the table's row of the position: first_position + t, or positions[B, T] (int32) where these are given,
// as packed documents need them.  Rows of x may lie apart, so that queries and keys of one projection are
// rotated by one call.  x is float32, on a CUDA device also bfloat16; the tables are float32.  REQUIRES:
// every position in [0, P), which on a CUDA device the kernel itself checks: there one outside traps.
void rope_forward(Tensor x_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                  Tensor positions_BT, Stream stream);

// The gradient, in place: dx from dy, a rotation by the opposite angle.
void rope_backward(Tensor dx_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                   Tensor positions_BT, Stream stream);

}  // namespace trireme
