// The Transformer of "Attention Is All You Need" (Vaswani et al. 2017), and its descendants by their options:
// an encoder reads a sentence, a decoder writes its translation.
#pragma once

#include <cstdint>
#include <memory>

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

class EncoderDecoder {
 public:
  // The most tokens of one pass, padding counted.
  struct Limits {
    std::int64_t source_tokens = 0;  // B S
    std::int64_t target_tokens = 0;  // B T
    bool training = false;
    std::size_t slots = 1;  // as in PassLimits
    Recompute recompute = Recompute::kNone;
  };

  // Parameters are allocated but not initialised: see ParameterBuffer::initialize, or load a checkpoint.
  explicit EncoderDecoder(const TransformerOptions& options,
                          ParameterMemory memory = ParameterMemory::kValuesAndGradients,
                          const ModelShare& share = {});

  const TransformerOptions& options() const { return options_; }
  ParameterBuffer& parameters() { return parameters_; }

  // Makes the activation memory of all passes up to these limits, in place of an earlier one.
  void allocate(const Limits& limits);

  // loss[0] += the cross-entropy, in nats, summed over the targets, smoothed as the pass says.  Of the pass
  // dropout, smoothing, observer and stream count; its sizes are those of the tensors.
  void forward_loss(Tensor loss_1, const PairTensors& pairs, const Pass& pass);
  // Also adds the gradient of scale * (that sum) to the parameters' gradients.
  void forward_backward(Tensor loss_1, const PairTensors& pairs, float scale, GradientReducer& reducer,
                        const Pass& pass);

  // Reads sentences, of which the cache then holds all that the decoder needs: see TranslationCache.
  void encode(Tensor sources_BS, Tensor source_lengths_B, KeyValueCache& cache, Memory memory, Stream stream);
  // The decoder's output [N, C] for the next token of each of N = batch hypotheses, which are appended to the
  // cache; valid until the next pass.
  Tensor decode(Tensor tokens_N, KeyValueCache& cache, const Memory& memory, Stream stream);
  // The logits [N, V] of up to max_logit_rows() rows of it.  Valid until the next call.
  Tensor logits(Tensor hidden_NC, Stream stream) const { return loss_.logits(hidden_NC, stream); }
  std::int64_t max_logit_rows() const { return loss_.max_logit_rows(); }

  // Floating-point operations of training on so many pairs, counted as Transformer::flops_per_token does.
  double flops(std::int64_t pairs, std::int64_t source_tokens, std::int64_t target_tokens) const;

 private:
  Pass encoder_pass(Tensor sources_BS, Tensor source_lengths_B, const Pass& pass);
  // After forward(), of both stacks: see TransformerStack.
  void add_ponder_loss(Tensor loss_1, const PairTensors& pairs, float scale, const Pass& decoding);
  // The decoder's output; `pass` becomes its pass.
  Tensor forward(const PairTensors& pairs, Pass& pass);

  TransformerOptions options_;
  TensorRanks ranks_;
  ParameterBuffer parameters_;
  TransformerStack encoder_;
  TransformerStack decoder_;
  LanguageModelLoss loss_;

  std::unique_ptr<Arena> arena_;
  Tensor source_documents_;  // int32
  Tensor target_documents_;  // int32, all 0
  Tensor counted_sources_;   // int32, below 0 behind a source's length; if there is halting
  Tensor dmemory_MC_;
  Tensor dhidden_NC_;
  Memory memory_;  // of the pass
};

// Marks what stands behind each row's length as another document.
void fill_padding_documents(Tensor documents_BS, Tensor lengths_B);

}  // namespace trireme
