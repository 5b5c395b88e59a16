// The decoder stack: embeddings, blocks, final norm.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "trainer/model/block.h"
#include "trainer/model/embedding.h"
#include "trainer/model/norm.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

class Decoder {
 public:
  Decoder(ParameterBuffer& parameters, const TransformerOptions& options);

  // Without `training` the blocks share one set of activations.
  void allocate(Arena& arena, const PassLimits& limits);

  // Returns the normalised output [N, C] of the last block, N = B T.
  Tensor forward(Tensor tokens_BT, const Pass& pass);
  // From the gradient of that output; all parameters' gradients +=.
  void backward(Tensor dhidden_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass);

  const Parameter& token_table() const { return embedding_.token_table(); }

 private:
  std::int64_t width_;
  Embedding embedding_;
  std::deque<TransformerBlock> blocks_;
  ResidualNorm final_norm_;

  std::vector<TransformerBlock::Activations> activations_;  // by block
  ResidualNorm::Activations final_activations_;
  TransformerBlock::Scratch scratch_;
  Tensor dresidual_NC_;
};

}  // namespace trireme
