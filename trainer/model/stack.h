// A stack of blocks between its embeddings and, under pre-norm, a final norm: a decoder, or an encoder.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "trainer/model/block.h"
#include "trainer/model/embedding.h"
#include "trainer/model/norm.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

class TransformerStack {
 public:
  // `shared_table` is the token table of a stack whose backward comes later.
  TransformerStack(ParameterBuffer& parameters, const TransformerOptions& options, const StackOptions& stack,
                   const Parameter* shared_table = nullptr);

  // Without `training` the blocks share one set of activations.
  void allocate(Arena& arena, const PassLimits& limits);

  // Into the cache of a pass: the keys and values of its memory.
  void project_memory(const Pass& pass) const;
  // Returns the normalised output [N, C] of the last block, N = B T.
  Tensor forward(Tensor tokens_BT, const Pass& pass);
  // From the gradient of that output, which is overwritten; all parameters' gradients +=, and that of the
  // pass's memory.
  void backward(Tensor dhidden_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass);

  const Parameter& token_table() const { return embedding_.token_table(); }

 private:
  // The residual that entered a block.
  Tensor input_of_block(std::size_t i, const Pass& pass) const;

  std::int64_t width_;
  PositionTables positions_;
  Embedding embedding_;
  std::deque<TransformerBlock> blocks_;
  std::optional<ResidualNorm> final_norm_;  // of pre-norm

  Embedding::Activations embedding_activations_;
  Tensor embedded_NC_;
  std::vector<TransformerBlock::Activations> activations_;  // by block
  ResidualNorm::Activations final_activations_;
  TransformerBlock::Scratch scratch_;
  Tensor dresidual_NC_;
};

}  // namespace trireme
