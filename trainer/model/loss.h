// The output layer and its loss, without ever storing all logits.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "kernels/vocabulary.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/pass.h"
#include "trainer/model/tensor_ranks.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// Cross-entropy of softmax(hidden table^T + bias), where `table` [V, C] is the token embedding (Press & Wolf
// 2017) or one of its own, and there may be no bias [V].  Ranks that share the layer have some of the
// vocabulary each, own rows of `hidden`, and all get the loss of all rows.  Rows are worked through in
// chunks: a chunk's logits become their own gradient and are used up before the next chunk.
class LanguageModelLoss {
 public:
  // Where embeddings are tied, the table is `token_table`, whose gradient the embedding's backward completes;
  // or, if this rank has no such embedding, one of that name, of the stack of that prefix.
  LanguageModelLoss(ParameterBuffer& parameters, const TransformerOptions& options,
                    const Parameter* token_table, const TensorRanks& ranks = TensorRanks::alone(),
                    const std::string& prefix = "");

  void allocate(Arena& arena, const PassLimits& limits);

  // loss[0] += the sum over rows, in nats, of the pass's smoothed targets; the pass's cross_entropy[0] +=
  // that of the targets as they are.
  // Where hits (int32) are given, hits[0] += the rows whose likeliest token is the target.  REQUIRES: then,
  // one rank.
  void forward(Tensor loss_1, Tensor hidden_NC, Tensor targets_N, const Pass& pass, Tensor hits_1 = {}) const;
  // Also dhidden = the gradient of scale * (that sum), and the table's gradient +=.
  void forward_backward(Tensor loss_1, Tensor dhidden_NC, Tensor hidden_NC, Tensor targets_N, float scale,
                        GradientReducer& reducer, const Pass& pass) const;
  // The logits [N, V] of at most max_logit_rows() rows.  Valid until the next call.  REQUIRES: one rank.
  Tensor logits(Tensor hidden_NC, Stream stream) const;
  std::int64_t max_logit_rows() const { return chunk_rows_; }

  const Parameter& table() const { return table_; }

 private:
  template <typename Body>
  void for_each_chunk(std::int64_t rows, Body body) const;
  // Returns the chunk's logits and leaves its log-sum-exp in lse_N_.
  Tensor forward_chunk(Tensor loss_1, Tensor hidden_NC, Tensor targets_N, const Pass& pass) const;

  // What this rank has the logits of.
  VocabularyPart vocabulary_part() const { return {.first = tokens_.begin, .whole = table_.part.whole[0]}; }
  Tensor own_logits(Tensor hidden_NC, Stream stream) const;

  const TensorRanks& ranks_;
  const ParameterBuffer& parameters_;
  FlatRange tokens_;  // this rank's
  bool completes_table_;
  const Parameter& table_;
  const Parameter* bias_ = nullptr;
  FlatRange bias_range_;  // of the flat parameters
  std::int64_t chunk_rows_ = 0;
  Tensor logits_NV_;  // rows padded to whole cache lines
  Tensor lse_N_;
  Tensor target_logit_N_;
  Tensor smoothed_logit_N_;
  Tensor found_;      // if ranks share the layer: the same three of this rank's tokens, [3, N]
  Tensor all_found_;  // and of all ranks', [R, 3, N]
};

}  // namespace trireme
