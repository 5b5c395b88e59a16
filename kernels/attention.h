// Scaled dot-product attention, softmax(scale q k^T + mask) v, in blocks: no T x S matrix is ever stored.
#pragma once

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// What the mask and the probabilities look like.  T queries, S keys, and query t stands at position t + S - T
// of the keys, so that a short query at the end of a cache sees all of it.
struct AttentionOptions {
  float scale = 0.0F;  // REQUIRES: > 0; 1/sqrt(D) as a rule
  bool causal = true;  // a query sees the keys at its own position and before; REQUIRES then: T <= S
  Dropout dropout;     // on the probabilities [B, H, T, S]
};

// out[B, T, H, D] and lse[B, H, T], the log-sum-exp of each query's scaled scores, which backward needs and
// may be empty where there is none; from q[B, T, H, D], k[B, S, K, D], v[B, S, K, D].  H is a multiple of K:
// query head h reads key/value head h / (H / K).  Rows of all but lse may lie apart (any stride but the
// last).
//
// The algorithm is the online softmax of FlashAttention (Dao et al. 2022): blocks that the mask hides are
// skipped.
void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream stream);

// dq, dk, dv are overwritten.  Probabilities are recomputed from lse.  Deterministic.
void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream stream);

}  // namespace trireme
