// The Transformer of "Attention Is All You Need" (Vaswani et al. 2017), and its descendants by their options:
// an encoder reads a sentence, a decoder writes its translation.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/arena.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/loss.h"
#include "trainer/model/model_share.h"
#include "trainer/model/stack.h"
#include "trainer/model/tensor_ranks.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// Sentences and translations, int32, laid out as PairBatch (data/pair_batch.h) says.  What stands behind a
// source's length changes nothing.
struct PairTensors {
  Tensor sources_BS;
  Tensor source_lengths_B;
  Tensor target_inputs_BT;
  Tensor target_outputs_BT;  // kIgnoredTarget behind the end
};

// Shared by stages as a Transformer is: its layers are the encoder's, and then the decoder's.  Messages are
// the encoder's residual stream, or its output, [M, C], M = B S; behind the decoder's first layer its output
// and the decoder's residual stream, [M + N, C], N = B T.
class EncoderDecoder {
 public:
  // The most tokens of one pass, padding counted.
  struct Limits {
    std::int64_t source_tokens = 0;  // B S
    std::int64_t target_tokens = 0;  // B T
    bool training = false;
    std::size_t slots = 1;  // as in PassLimits
    Recompute recompute = Recompute::kNone;
    bool deferred_weights = false;
  };

  // Parameters are allocated but not initialised: see ParameterBuffer::initialize, or load a checkpoint.
  // They are named and drawn as those of the whole model.  Collective over the stages of the share.
  explicit EncoderDecoder(const TransformerOptions& options,
                          ParameterMemory memory = ParameterMemory::kValuesAndGradients,
                          const ModelShare& share = {});

  const TransformerOptions& options() const { return options_; }
  ParameterBuffer& parameters() { return parameters_; }
  // Of its share: where passes run.
  Stream stream() const { return stream_; }
  DType dtype() const { return dtype_; }

  // Makes the activation memory of all passes up to these limits, in place of an earlier one.
  void allocate(const Limits& limits);

  // As those of Transformer.  Of a pass slot, dropout, smoothing, deferral, observer and stream count; its
  // sizes are those of the tensors.
  int num_chunks() const { return static_cast<int>(chunks_.size()); }
  bool ends_in(int index) const { return chunk(index).decoder && chunk(index).decoder->is_last(); }
  std::int64_t rows_in(int chunk, const PairTensors& pairs) const;
  std::int64_t rows_out(int chunk, const PairTensors& pairs) const;
  void forward(int chunk, const PairTensors& pairs, Tensor in_XC, Tensor out_XC, const Pass& pass);
  void add_loss(Tensor loss_1, const PairTensors& pairs, const Pass& pass);
  void backward(int chunk, Tensor loss_1, const PairTensors& pairs, float scale, Tensor dout_XC,
                Tensor din_XC, GradientReducer& reducer, const Pass& pass);
  void backward_weights(int chunk, GradientReducer& reducer, const Pass& pass);

  // Of the whole model, what forward and add_loss do,
  void forward_loss(Tensor loss_1, const PairTensors& pairs, const Pass& pass);
  // and forward and backward.
  void forward_backward(Tensor loss_1, const PairTensors& pairs, float scale, GradientReducer& reducer,
                        const Pass& pass);

  // Reads sentences, of which the cache then holds all that the decoder needs: see TranslationCache.
  void encode(Tensor sources_BS, Tensor source_lengths_B, KeyValueCache& cache, Memory memory, Stream stream);
  // The decoder's output [N, C] for the next token of each of N = batch hypotheses, which are appended to the
  // cache; valid until the next pass.
  Tensor decode(Tensor tokens_N, KeyValueCache& cache, const Memory& memory, Stream stream);
  // The logits [N, V] of up to max_logit_rows() rows of it.  Valid until the next call.
  Tensor logits(Tensor hidden_NC, Stream stream) const { return loss_->logits(hidden_NC, stream); }
  std::int64_t max_logit_rows() const { return loss_->max_logit_rows(); }

  // Floating-point operations of training on so many pairs, counted as Transformer::flops_per_token does.
  double flops(std::int64_t pairs, std::int64_t source_tokens, std::int64_t target_tokens) const;

 private:
  struct Chunk {
    std::optional<TransformerStack> encoder;
    std::optional<TransformerStack> decoder;
    std::vector<Tensor> memories_MC;  // by slot: what came in of the encoder's output
  };
  // What the two stacks run with.  The decoder's points at the memory, so it stays where it is.
  struct Passes {
    Passes(const EncoderDecoder& model, const PairTensors& pairs, const Pass& pass);
    Passes(const Passes&) = delete;
    Passes& operator=(const Passes&) = delete;

    Pass encoding;
    Pass decoding;
    Memory memory;  // without x and dx
  };

  void add_chunks(const ModelShare& share);
  void count_weights(const ModelShare& share);
  Chunk& chunk(int index) { return chunks_[static_cast<std::size_t>(index)]; }
  const Chunk& chunk(int index) const { return chunks_[static_cast<std::size_t>(index)]; }
  Chunk& whole();
  // The encoder's output in a chunk with decoder layers.
  // Of all tokens of a side.
  std::int64_t own_rows(Tensor tokens) const { return ranks_.own_rows(tokens.num_elements()).size(); }
  Tensor memory_of(const Chunk& chunk, const Pass& encoding) const;
  Pass encoder_pass(Tensor sources_BS, Tensor source_lengths_B, const Pass& pass) const;
  // After forward, of both stacks: see TransformerStack.
  void add_ponder_loss(Tensor loss_1, const PairTensors& pairs, float scale, const Passes& passes);

  TransformerOptions options_;
  Stream stream_;
  DType dtype_;
  TensorRanks ranks_;
  ParameterBuffer parameters_;
  std::deque<Chunk> chunks_;
  std::optional<LanguageModelLoss> loss_;  // of the chunk that ends the model
  std::unique_ptr<Communicator> tied_;     // the stages that have the token table
  // Weights of the whole model that are multiplied with each token of a source, and of a target.
  std::int64_t num_source_weights_ = 0;
  std::int64_t num_target_weights_ = 0;

  std::unique_ptr<Arena> arena_;
  Tensor source_documents_;  // int32
  Tensor target_documents_;  // int32, all 0
  Tensor counted_sources_;   // int32, below 0 behind a source's length; if there is halting
  Tensor dmemory_MC_;
  Tensor dhidden_NC_;
};

}  // namespace trireme
