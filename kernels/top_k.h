// The likeliest tokens of rows of logits.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// The most tokens that a vocabulary may have for the ops that order it.
inline constexpr std::int64_t kMaxOrderedVocabulary = std::int64_t{1} << 24;

// Logits are float32, on a CUDA device also bfloat16; their rows may lie apart.  A NaN is no likelier than
// -Inf.  Of equal ones the first is the likeliest, so that results are the same on every device.

// The K likeliest tokens of each row (int32) and their logits (float32), in the order of tokens: to sort so
// few is left to who asks.  REQUIRES: 1 <= K <= V <= kMaxOrderedVocabulary.
void top_k(Tensor values_NK, Tensor tokens_NK, Tensor logits_NV, Stream stream);

// hits[0] += the number of rows whose likeliest token is the target (all int32).
void count_hits(Tensor hits_1, Tensor logits_NV, Tensor targets_N, Stream stream);

}  // namespace trireme
