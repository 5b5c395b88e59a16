// The output layer and its loss, without ever storing all logits.
#pragma once

#include <cstdint>

#include "kernels/arena.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/pass.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// Cross-entropy of softmax(hidden table^T + bias), where `table` [V, C] is the token embedding (Press & Wolf
// 2017) or one of its own, and there may be no bias [V]. Rows are worked through in chunks: a chunk's logits
// become their own gradient and are used up before the next chunk.
class LanguageModelLoss {
 public:
  // Where embeddings are tied `token_table`, which the embedding's backward completes, is the table.
  LanguageModelLoss(ParameterBuffer& parameters, const TransformerOptions& options,
                    const Parameter& token_table);

  void allocate(Arena& arena, const PassLimits& limits);

  // loss[0] += the sum over rows, in nats, of the pass's smoothed targets; the pass's cross_entropy[0] +=
  // that of the targets as they are.
  void forward(Tensor loss_1, Tensor hidden_NC, Tensor targets_N, const Pass& pass) const;
  // Also returns in how many rows the likeliest token is the target.
  std::int64_t forward_and_count_hits(Tensor loss_1, Tensor hidden_NC, Tensor targets_N,
                                      const Pass& pass) const;
  // Also dhidden = the gradient of scale * (that sum), and the table's gradient +=.
  void forward_backward(Tensor loss_1, Tensor dhidden_NC, Tensor hidden_NC, Tensor targets_N, float scale,
                        GradientReducer& reducer, const Pass& pass) const;
  // The logits [N, V] of at most max_logit_rows() rows.  Valid until the next call.
  Tensor logits(Tensor hidden_NC, Stream stream) const;
  std::int64_t max_logit_rows() const { return chunk_rows_; }

 private:
  template <typename Body>
  void for_each_chunk(std::int64_t rows, Body body) const;
  // Returns the chunk's logits and leaves its log-sum-exp in lse_N_.
  Tensor forward_chunk(Tensor loss_1, Tensor hidden_NC, Tensor targets_N, const Pass& pass) const;

  const ParameterBuffer& parameters_;
  bool is_tied_;
  const Parameter& table_;
  const Parameter* bias_ = nullptr;
  FlatRange bias_range_;  // of the flat parameters
  std::int64_t vocabulary_;
  std::int64_t chunk_rows_ = 0;
  Tensor logits_NV_;  // rows padded to whole cache lines
  Tensor lse_N_;
  Tensor target_logit_N_;
  Tensor smoothed_logit_N_;
};

}  // namespace trireme
