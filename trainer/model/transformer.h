// A decoder-only Transformer language model: GPT-2 (Radford et al. 2019), Llama (Touvron et al. 2023) and
// what lies between, by its options.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "kernels/arena.h"
#include "kernels/buffer.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/loss.h"
#include "trainer/model/model_share.h"
#include "trainer/model/stack.h"
#include "trainer/model/tensor_ranks.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// A microbatch of text, int32: tokens, and what each is followed by.
struct TextTensors {
  Tensor inputs_BT;
  Tensor targets_BT;
};

// The whole model, or a stage's share of one that goes through a pipeline: chunks (see ModelShare), of which
// the whole model is the case of one.  Microbatches pass a chunk forward, then backward; what lies between is
// in the pass's slot, which is free again after backward.  What enters and leaves a chunk, but for tokens and
// loss, is a message of rows [rows, C], which the caller brings from the chunk of the model that comes
// before, and takes to the one behind; gradients go the other way, as many rows.  Messages are the caller's
// memory, and free for other use when a call is done.
class Transformer {
 public:
  // Parameters are allocated but not initialised: see ParameterBuffer::initialize, or load a checkpoint. They
  // are named and drawn as those of the whole model.  Collective over the stages of the share.
  explicit Transformer(const TransformerOptions& options,
                       ParameterMemory memory = ParameterMemory::kValuesAndGradients,
                       const ModelShare& share = {});

  const TransformerOptions& options() const { return options_; }
  ParameterBuffer& parameters() { return parameters_; }
  // Of its share: where passes run.
  Stream stream() const { return stream_; }
  DType dtype() const { return dtype_; }

  // Makes the activation memory of all passes up to these limits, in place of an earlier one.
  void allocate(PassLimits limits);

  int num_chunks() const { return static_cast<int>(chunks_.size()); }
  bool ends_in(int chunk) const { return this->chunk(chunk).is_last(); }
  // Rows of the messages that enter and leave a chunk: none where it begins, or ends, the model.
  std::int64_t rows_in(int chunk, const TextTensors& text) const;
  std::int64_t rows_out(int chunk, const TextTensors& text) const;

  // A message in, a message out; either is empty where the chunk has none.
  void forward(int chunk, const TextTensors& text, Tensor in_NC, Tensor out_NC, const Pass& pass);
  // After forward, instead of backward, of the chunk that ends the model: loss[0] += the cross-entropy, in
  // nats, summed over the B T targets, smoothed as the pass says; and the cost of pondering (see
  // Halting::add_loss).
  void add_loss(Tensor loss_1, const TextTensors& text, const Pass& pass);
  // Adds the gradient of scale * (the loss) to the parameters' gradients.  The chunk that ends the model also
  // does what add_loss does.  `dout`, the gradient of what went out, is overwritten; `din`, of what came in,
  // is written.
  void backward(int chunk, Tensor loss_1, const TextTensors& text, float scale, Tensor dout_NC, Tensor din_NC,
                GradientReducer& reducer, const Pass& pass);
  // After the backward of a pass that defers weights, the rest of it; the slot is free only then.
  void backward_weights(int chunk, GradientReducer& reducer, const Pass& pass);

  // Of the whole model, what forward and add_loss do,
  void forward_loss(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, const Pass& pass);
  // and forward and backward.
  void forward_backward(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, float scale,
                        GradientReducer& reducer, const Pass& pass);
  // The logits [1, V] that follow the last of the tokens, valid until the next pass; appends to the pass's
  // cache. REQUIRES: B = 1.
  Tensor next_token_logits(Tensor tokens_BT, const Pass& pass);

  // Floating-point operations of one training step, per token: 6 for each weight that is multiplied, and for
  // each layer 12 H D for each key that a query sees, T / 2 of them on average under a causal mask (PaLM,
  // appendix B, with what is masked left out).  All loops are counted, also of positions that halt before.
  double flops_per_token(std::int64_t sequence) const;

 private:
  TransformerStack& chunk(int index) { return chunks_[static_cast<std::size_t>(index)]; }
  const TransformerStack& chunk(int index) const { return chunks_[static_cast<std::size_t>(index)]; }
  TransformerStack& whole();
  std::int64_t own_rows(const TextTensors& text) const {
    return ranks_.own_rows(text.inputs_BT.num_elements()).size();
  }

  TransformerOptions options_;
  Stream stream_;
  DType dtype_;
  TensorRanks ranks_;
  ParameterBuffer parameters_;
  std::deque<TransformerStack> chunks_;
  std::optional<LanguageModelLoss> loss_;  // of the chunk that ends the model
  std::unique_ptr<Communicator> tied_;     // the stages that have the token table
  std::int64_t num_multiplied_ = 0;        // weights that are multiplied with a token, of the whole model
  std::unique_ptr<Arena> arena_;
  Tensor dhidden_NC_;
};

// Memory for a cache of `context` positions.
class KeyValueCacheMemory {
 public:
  KeyValueCacheMemory(const TransformerOptions& options, std::int64_t batch, Device device = {});
  KeyValueCache& cache() { return cache_; }

 private:
  Buffer buffer_;
  KeyValueCache cache_;
};

}  // namespace trireme
