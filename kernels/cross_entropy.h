// Softmax cross-entropy of logits, in two passes, so that ranks that share a vocabulary can combine `lse` and
// both logits between them, and rows can be worked through in chunks whose logits are never all stored.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "kernels/vocabulary.h"

namespace trireme {

// A target of this value counts for nothing: no loss, no gradient.
inline constexpr std::int32_t kIgnoredTarget = -1;

// Numbers are float32.  On a CUDA device logits and dlogits may be bfloat16, both or none; lse and
// both logits stay float32.  REQUIRES: every target in [0, V) or ignored, which there the kernel itself
// checks: it traps.

// lse[N] = log sum_v exp(logits[n, v]);  target_logit[N] = logits[n, targets[n]].  The loss of row n is
// lse - target_logit.  Where the target is ignored both are 0.  Rows of logits may lie apart.
//
// With label smoothing s (Szegedy et al. 2016) the target is a distribution, 1 - s at the target and s / V
// everywhere, and smoothed_logit[N] the mean under it: (1 - s) logits[n, targets[n]] + s / V sum_v logits[n,
// v].  The smoothed loss is lse - smoothed_logit.  REQUIRES: s in [0, 1); smoothed_logit may be empty.
//
// Of a part of the vocabulary, all three are what it adds to those of the whole (lse to the sum under the
// logarithm): cross_entropy_combine() puts them together.  A part may be of no tokens.
void cross_entropy_forward(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor logits_NV,
                           Tensor targets_N, float label_smoothing, Stream stream, VocabularyPart part = {});

// From what the R parts of a vocabulary gave, parts[r] = (lse, target_logit, smoothed_logit): the same of the
// whole, summed in the order of parts.
void cross_entropy_combine(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor parts_R3N,
                           Tensor targets_N, Stream stream);

// dlogits = scale (softmax(logits) - (1 - s) onehot(target) - s / V), 0 in ignored rows; dlogits may be
// logits' memory.  `lse` and V are those of the whole vocabulary.
void cross_entropy_backward(Tensor dlogits_NV, Tensor logits_NV, Tensor lse_N, Tensor targets_N,
                            float label_smoothing, float scale, Stream stream, VocabularyPart part = {});

}  // namespace trireme
