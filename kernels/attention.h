// Scaled dot-product attention, softmax(scale q k^T + bias + mask) v, in blocks: no T x S matrix is ever
// stored.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// Whether this build has cuDNN (it does where CUDA is built and the toolkit has it).
bool has_cudnn();

// Whose kernels a CUDA device computes attention with.
enum class AttentionLibrary {
  kTrireme,
  // Of bfloat16 numbers.  What it has no kernel for is done by ours, and the log says why.  REQUIRES:
  // has_cudnn().
  kCudnn,
  // The quicker of both, on GPUs of compute capability 9.0 and later; on older ones and without cuDNN,
  // kTrireme.  Forward and backward of a shape are done by both when they first come up outside a graph, and
  // timed, for which the host waits; the log has the times.
  kQuicker,
};

// Which keys a query sees, and how.  T queries, S keys; query t stands at position t + S - T of the keys, so
// that a short query at the end of a cache sees all of it.  A query sees the keys that all of causal, window
// and documents let it see; one that sees none gives 0, with a log-sum-exp of -infinity.
struct AttentionOptions {
  float scale = 0.0F;  // REQUIRES: > 0; 1/sqrt(D) as a rule
  bool causal = true;  // a query sees the keys at its own position and before; REQUIRES then: T <= S
  // A query sees keys less than `window` positions away, on both sides unless causal; 0 is no limit.  Cost
  // and memory grow with T window, not T S.
  std::int64_t window = 0;
  // ALiBi (Press, Smith, Lewis 2022): the score of a key is lowered by slope times its distance to the query.
  // float32; empty for none.
  Tensor alibi_slopes_H;
  // int32 numbers that do not fall along a row: a query sees the keys of its own document.  Both or neither.
  // Padding is a document, too: keys that no query is of.  Blocks without a common document cost nothing.
  Tensor query_documents_BT;
  Tensor key_documents_BS;
  // On the probabilities.  Element (b, h, t, s) is number ((b M + first_head + h) T + t) S' + s of the mask,
  // where S' is S rounded up to a multiple of 4.  M = `mask_heads` heads have masks, of which q has
  // [first_head, first_head + H), and other ranks the rest: each then drops what one rank with all would.  0:
  // M is H.
  Dropout dropout;
  std::int64_t first_head = 0;
  std::int64_t mask_heads = 0;
  // Whether backward must give the same bits each time.  Costs time on devices of many threads; the CPU
  // always does.
  bool deterministic = false;
  AttentionLibrary library = AttentionLibrary::kTrireme;
};

// Elements of the dropout mask of one sequence, of all heads that have masks: what `Dropout::offset` grows by
// from one to the next.
constexpr std::int64_t attention_mask_size(std::int64_t num_heads, std::int64_t num_queries,
                                           std::int64_t num_keys) {
  return num_heads * num_queries * ((num_keys + 3) / 4 * 4);
}

// out[B, T, H, D] and lse[B, H, T], the log-sum-exp of each query's scores (natural logarithm), which
// backward needs and may be empty where there is none; from q[B, T, H, D], k[B, S, K, D], v[B, S, K, D].  H
// is a multiple of K: query head h reads key/value head h / (H / K).  Rows of all but lse may lie apart (any
// stride but the last).  Numbers are float32, on a CUDA device also bfloat16, all of one type; lse is float32
// always.  On a CUDA device D is at most 128.
//
// The algorithm is the online softmax of FlashAttention (Dao et al. 2022): blocks that nobody sees are
// skipped.
void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream stream);

// dq, dk, dv are overwritten, and overlap nothing else.  Probabilities are recomputed from lse.
void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream stream);

}  // namespace trireme
