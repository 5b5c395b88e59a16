// An encoder-only Transformer that learns by filling in masked words: BERT (Devlin et al. 2019), MiniLM,
// RoBERTa and their relatives, by its options.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/arena.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/loss.h"
#include "trainer/model/output_transform.h"
#include "trainer/model/stack.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// What is to be predicted: M of the N = B T tokens of a pass, int32.
struct MaskedTokens {
  Tensor rows_M;     // where they stand among the N
  Tensor targets_M;  // what they were
};

class MaskedLanguageModel {
 public:
  // Parameters are allocated but not initialised: see ParameterBuffer::initialize, or load a checkpoint.  The
  // model lies where the stream's device is; its passes compute in `dtype`, see ModelShare.
  explicit MaskedLanguageModel(const TransformerOptions& options,
                               ParameterMemory memory = ParameterMemory::kValuesAndGradients,
                               Stream stream = {}, DType dtype = DType::kFloat32);

  const TransformerOptions& options() const { return options_; }
  ParameterBuffer& parameters() { return parameters_; }
  // Where passes run.
  Stream stream() const { return stream_; }

  // Makes the activation memory of all passes up to these limits that predict up to `predictions` tokens;
  // once.
  void allocate(PassLimits limits, std::int64_t predictions);

  // Every token sees its whole sequence, or document: where sequences are padded, the pass's documents keep
  // what is padding apart (mark_padding), and then it changes nothing.
  //
  // The output [N, C] of the last block, normalised; valid until the next pass.
  Tensor hidden_states(Tensor tokens_BT, const Pass& pass);
  // The logits [M, V] of what stands in these rows of it, M at most max_logit_rows(); valid until the next
  // call.
  Tensor logits(Tensor hidden_NC, Tensor rows_M, Stream stream);
  std::int64_t max_logit_rows() const { return loss_.max_logit_rows(); }

  // loss[0] += the cross-entropy, in nats, summed over the masked tokens, smoothed as the pass says;
  // hits[0] (int32) += of how many of them the likeliest guess is right.
  void forward_loss(Tensor loss_1, Tensor hits_1, Tensor tokens_BT, const MaskedTokens& masked,
                    const Pass& pass);
  // Adds the gradient of scale * (that sum) to the parameters' gradients.
  void forward_backward(Tensor loss_1, Tensor tokens_BT, const MaskedTokens& masked, float scale,
                        GradientReducer& reducer, const Pass& pass);

  // Floating-point operations of training on so many sequences, of whose tokens some are predicted, counted
  // as Transformer::flops_per_token does.
  double flops(std::int64_t sequences, std::int64_t sequence, std::int64_t predictions) const;

 private:
  // The rows that are predicted, as they enter the output layer.
  Tensor forward_head(Tensor hidden_NC, Tensor rows_M, const Pass& head);

  TransformerOptions options_;
  Stream stream_;
  DType dtype_;
  ParameterBuffer parameters_;
  TransformerStack encoder_;
  std::optional<OutputTransform> transform_;
  FlatRange transform_range_;  // of the flat parameters
  LanguageModelLoss loss_;

  std::unique_ptr<Arena> arena_;
  Tensor counted_N_;  // int32, 0: all tokens' loops cost something, if they halt by themselves
  Tensor gathered_MC_;
  OutputTransform::Activations transform_activations_;
  Tensor dgathered_MC_;
  Tensor dhidden_NC_;
};

}  // namespace trireme
