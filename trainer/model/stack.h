// A stack of blocks between its embeddings and, under pre-norm, a final norm: a decoder, or an encoder.  Its
// blocks may be applied several times over, with the same weights (Universal Transformer, Dehghani et al.
// 2019).  Or a part of it, on one of the stages of a pipeline: some of the blocks, the embeddings with the
// first, the final norm behind the last.
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
  // Constant tables are made in the order of `stream`.  `shared_table` is the token table of a stack whose
  // backward comes later.
  TransformerStack(ParameterBuffer& parameters, const TransformerOptions& options, const StackOptions& stack,
                   const TensorRanks& ranks, Stream stream = {}, const Parameter* shared_table = nullptr);

  // Without `training` the blocks share one set of activations; so they do, but for what is kept, where some
  // of it is recomputed.  What is shared, and what lives within one call, may be that of another part with
  // the same limits.
  void allocate(Arena& arena, PassLimits limits, const TransformerStack* sharing = nullptr);

  bool is_first() const { return embedding_.has_value(); }
  bool is_last() const { return is_last_; }

  // Into the cache of a pass: the keys and values of its memory.
  void project_memory(const Pass& pass) const;
  // From tokens to the normalised output [N, C] of the last block, N = B T.  Between parts goes the residual
  // stream: `input` is the tokens of the first part, what the part before wrote to `out_NC` of the others;
  // the last has no `out_NC`, but output().
  void forward(Tensor input, Tensor out_NC, const Pass& pass);
  // Of the pass's slot, valid until its next forward.
  Tensor output(const Pass& pass) const;
  // After forward, and before backward: of a stack that halts, the loss of Halting::add_loss.
  void add_ponder_loss(Tensor loss_1, Tensor counted_BT, float scale, const Pass& pass) const;
  // From the gradient of what forward made, which is overwritten; all parameters' gradients +=, and that of
  // the pass's memory.  `tokens` are those of the first part; of the others, returns the gradient of what
  // came in, valid until the next call.
  Tensor backward(Tensor dout_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass);
  // After the backward of a pass that defers weights: theirs.
  void backward_weights(GradientReducer& reducer, const Pass& pass);

  // None but of the first part.
  const Parameter* token_table() const { return embedding_ ? &embedding_->token_table() : nullptr; }

 private:
  // What a microbatch leaves for its backward.
  struct Slot {
    Embedding::Activations embedding;
    std::vector<Tensor> inputs_NC;                      // by loop: what enters its first block
    std::vector<TransformerBlock::Activations> blocks;  // by loop, then block
    Tensor mean_NC;                                     // of the states, if positions halt
    ResidualNorm::Activations final_norm;
    std::int64_t loops_run = 0;
    DeferredGradients deferred;
  };
  // `first` has the first block's activations; a first slot finds them in itself.
  Slot allocate_slot(Arena& arena, const PassLimits& limits, const Slot* first) const;
  Slot& slot(const Pass& pass) { return slots_[pass.slot]; }

  Tensor own_rows_of(Tensor activation, const Pass& pass) const {
    return ranks_.own_rows_of(activation, pass.rows());
  }
  // Ranks exchange whole parts of rows, for which there is no room in a message.
  bool needs_room_for_gradient() const { return !final_norm_ && !ranks_.is_alone(); }
  Pass pass_of_loop(std::int64_t loop, const Pass& pass) const;
  // Of the pass's slot and loop.
  const TransformerBlock::Activations& activations(std::size_t block, const Pass& pass) const;
  Tensor input_of_loop(const Pass& pass) const;
  // What entered a block: of the pass's loop.
  Tensor input_of_block(std::size_t block, const Pass& pass) const;

  // Ends a loop of a stack that halts; whether all positions have halted.
  bool halt(ResidualStream& stream, const Pass& pass);
  // From the gradient of a loop's whole output, pre-norm, to that of the branch which the last block left.
  void split_branch(ResidualGradient& gradient, const Pass& pass) const;

  const TensorRanks& ranks_;
  const ParameterBuffer& parameters_;
  std::int64_t width_;
  std::int64_t loops_;
  bool is_pre_norm_;
  bool is_last_;
  PositionTables positions_;
  std::optional<Embedding> embedding_;  // of the first part
  std::optional<Halting> halting_;
  std::deque<TransformerBlock> blocks_;
  std::optional<ResidualNorm> final_norm_;  // of pre-norm, of the last part

  Recompute recompute_ = Recompute::kNone;
  bool keeps_operands_ = false;  // of weights' gradients that are deferred
  std::vector<Slot> slots_;
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
