// Adaptive computation time (Graves 2016) of the rows of a Transformer whose blocks are applied in a loop
// (Universal Transformer, Dehghani et al. 2019): each row decides by itself after how many loops it is done.
// Numbers are float32; on a CUDA device those of matrices and logits, and their gradients, may be bfloat16,
// all or none.  Probabilities, and what they add up to, are float32 always.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

struct HaltingOptions {
  std::int64_t loop = 0;       // which one, from 0 on
  std::int64_t num_loops = 1;  // in the last, every row that still runs halts
  float threshold = 0.99F;     // 1 - epsilon
};

// What one loop adds to the mean of states that a row leaves as.  A row runs until the probabilities of its
// loops, p = sigmoid(logit), add up to more than the threshold; that loop, its last, weighs what is missing
// to 1:
//
//     weight = p, or remainder = 1 - (the p before) in the last loop, or 0 for a row that has halted before
//     mean  += weight state
//
// `state` holds on entry what the loop made of every row; rows that have halted before get `previous`, the
// state after the loop before, in its place.  `mean`, `remainder` and `loops` (int32: how many a row has run,
// 0 until it halts) are kept from loop to loop; loop 0 sets them, and has no `previous`.
void halting_forward(Tensor mean_NC, Tensor state_NC, Tensor weight_N, Tensor remainder_N, Tensor loops_N,
                     Tensor previous_NC, Tensor logit_N, const HaltingOptions& options, Stream stream);

// Back through one loop, after the loops behind it.  `dstate` is on entry the gradient of the state as later
// loops read it, afterwards that of what the loop made; `dprevious` becomes that of `previous` as far as it
// was copied.  `dponder` is the gradient that reaches the remainder from the ponder loss; `dremainder` is
// kept from loop to loop.  In which loop a row halts counts as a constant.
void halting_backward(Tensor dlogit_N, Tensor dremainder_N, Tensor dstate_NC, Tensor dprevious_NC,
                      Tensor dmean_NC, Tensor dponder_N, Tensor state_NC, Tensor weight_N, Tensor loops_N,
                      std::int64_t loop, Stream stream);

// loss[0] += cost times the sum of loops + remainder over the rows that count: those whose `counted` (int32)
// is not negative.  dponder = the gradient of scale * (that sum) by each remainder; by loops there is none.
void ponder_loss(Tensor loss_1, Tensor dponder_N, Tensor remainder_N, Tensor loops_N, Tensor counted_N,
                 float cost, float scale, Stream stream);

}  // namespace trireme
