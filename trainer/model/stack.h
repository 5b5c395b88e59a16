// A stack of blocks between its embeddings and, under pre-norm, a final norm: a decoder, or an encoder.  Its
// blocks may be applied several times over, with the same weights (Universal Transformer, Dehghani et al.
// 2019).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "trainer/model/block.h"
#include "trainer/model/embedding.h"
#include "trainer/model/halting.h"
#include "trainer/model/norm.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// Whether a stack's parameter is used in each of its loops.
bool is_looped(const Parameter& parameter);

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
  // After forward, and before backward: of a stack that halts, the loss of Halting::add_loss.
  void add_ponder_loss(Tensor loss_1, Tensor counted_BT, float scale, const Pass& pass) const;
  // From the gradient of that output, which is overwritten; all parameters' gradients +=, and that of the
  // pass's memory.
  void backward(Tensor dhidden_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass);

  const Parameter& token_table() const { return embedding_.token_table(); }

 private:
  Pass pass_of_loop(std::int64_t loop, const Pass& pass) const;
  // Of the pass's loop.
  TransformerBlock::Activations& activations(std::size_t block, const Pass& pass);
  Tensor input_of_loop(const Pass& pass) const;

  // Ends a loop of a stack that halts; whether all positions have halted.
  bool halt(ResidualStream& stream, const Pass& pass) const;
  // From the gradient of a loop's whole output, pre-norm, to that of the branch which the last block left.
  void split_branch(ResidualGradient& gradient, const Pass& pass) const;

  const ParameterBuffer& parameters_;
  std::int64_t width_;
  std::int64_t loops_;
  PositionTables positions_;
  Embedding embedding_;
  std::optional<Halting> halting_;
  std::deque<TransformerBlock> blocks_;
  std::optional<ResidualNorm> final_norm_;  // of pre-norm

  Embedding::Activations embedding_activations_;
  std::int64_t loops_run_ = 0;                              // of the last forward pass
  std::vector<Tensor> inputs_NC_;                           // by loop: what enters its first block
  std::vector<TransformerBlock::Activations> activations_;  // by loop, then block
  Tensor mean_NC_;                                          // of the states, if positions halt
  ResidualNorm::Activations final_activations_;
  TransformerBlock::Scratch scratch_;
  Tensor dresidual_NC_;
  // Of the flat parameters: what is used together.
  FlatRange embedding_range_;
  FlatRange embedding_norm_range_;
  std::vector<FlatRange> block_ranges_;
  FlatRange final_norm_range_;
  FlatRange looped_range_;  // all that loops use again and again; empty without loops
};

}  // namespace trireme
