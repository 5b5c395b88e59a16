// The probabilities by which attention adds up values, and how far they are spread: to look at, as attention
// itself never stores them.
#pragma once

#include "kernels/attention.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// p[B, H, T, S] = softmax(scale q k^T + bias + mask) over the keys, of q[B, T, H, D] and k[B, S, K, D] as in
// attention_forward, before dropout.  Each row adds up to 1, or is 0 where a query sees no key.  p is
// float32.
void attention_probabilities(Tensor p_BHTS, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                             Stream stream);

// entropy[B, H, T] = -sum over s of p log p, in nats: 0 where a query sees one key, or none, and log n where
// it looks at n keys alike.  Row by row: no T x S matrix is stored.
void attention_entropy(Tensor entropy_BHT, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                       Stream stream);

}  // namespace trireme
