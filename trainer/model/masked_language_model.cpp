#include "trainer/model/masked_language_model.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/memory_label.h"
#include "trainer/model/memory_remedies.h"

namespace trireme {
namespace {

// What lies behind the blocks works on the M masked tokens alone, each a sequence of its own.
Pass head_pass(std::int64_t masked, const Pass& pass) {
  return {.batch = masked,
          .sequence = 1,
          .label_smoothing = pass.label_smoothing,
          .cross_entropy_1 = pass.cross_entropy_1,
          .stream = pass.stream};
}

Tensor as_sequences(Tensor x_MC) {
  return x_MC.view({x_MC.dim(0), 1, x_MC.dim(1)});
}

}  // namespace

MaskedLanguageModel::MaskedLanguageModel(const TransformerOptions& options, ParameterMemory memory,
                                         Stream stream, DType dtype)
    : options_(options),
      stream_(stream),
      dtype_(dtype),
      encoder_(parameters_, options, {.layers = options.layers, .causal = false}, TensorRanks::alone(),
               stream),
      transform_([&]() -> std::optional<OutputTransform> {
        if (!options.output_transform) return std::nullopt;
        return OutputTransform(parameters_, options);
      }()),
      loss_(parameters_, options, encoder_.token_table()) {
  // Its linear layer, and the norm behind that.
  transform_range_ = {parameters_.range_of("output.transform").begin,
                      parameters_.range_of("output.norm").end};
  const MemoryLabel label("model", kFewerParameters);
  parameters_.allocate(memory, stream.device(), dtype);
}

void MaskedLanguageModel::allocate(PassLimits limits, std::int64_t predictions) {
  limits.dtype = dtype_;
  CHECK_LE(limits.sequence, options_.context);
  const PassLimits head{.batch = predictions, .sequence = 1, .training = limits.training, .dtype = dtype_};
  const auto plan = [&](Arena& arena) {
    const auto rows = [&](const PassLimits& of) {
      return arena.allocate(dtype_, {of.rows(), options_.width});
    };
    encoder_.allocate(arena, limits);
    if (options_.halting) counted_N_ = arena.allocate(DType::kInt32, {limits.rows()});
    gathered_MC_ = rows(head);
    if (transform_) transform_activations_ = transform_->allocate(arena, head);
    loss_.allocate(arena, head);
    if (!limits.training) return;
    dgathered_MC_ = rows(head);
    dhidden_NC_ = rows(limits);
  };
  const Device device = stream_.device();
  Arena measure = Arena::measuring(device);
  plan(measure);
  const MemoryLabel label("activations", kFewerActivations);
  arena_ = std::make_unique<Arena>(measure.size_bytes(), device);
  plan(*arena_);
  if (counted_N_) fill(counted_N_, 0.0F, stream_);
}

Tensor MaskedLanguageModel::hidden_states(Tensor tokens_BT, const Pass& pass) {
  encoder_.forward(tokens_BT, {}, pass);
  return encoder_.output(pass);
}

// To gather rows is to embed their numbers by a table that is the hidden states.
Tensor MaskedLanguageModel::forward_head(Tensor hidden_NC, Tensor rows_M, const Pass& head) {
  const Tensor gathered = head.rows_of(gathered_MC_);
  embedding_forward(as_sequences(gathered), rows_M.view({head.batch, 1}), hidden_NC, {}, 0, {}, 1.0F,
                    Dropout(), head.stream);
  if (!transform_) return gathered;
  const ParametersInUse in_use(parameters_, transform_range_, head.stream);
  return transform_->forward(gathered, transform_activations_, head);
}

Tensor MaskedLanguageModel::logits(Tensor hidden_NC, Tensor rows_M, Stream stream) {
  const Tensor rows = forward_head(hidden_NC, rows_M, head_pass(rows_M.dim(0), {.stream = stream}));
  return loss_.logits(rows, stream);
}

void MaskedLanguageModel::forward_loss(Tensor loss_1, Tensor hits_1, Tensor tokens_BT,
                                       const MaskedTokens& masked, const Pass& pass) {
  const Pass head = head_pass(masked.rows_M.dim(0), pass);
  const Tensor rows = forward_head(hidden_states(tokens_BT, pass), masked.rows_M, head);
  if (counted_N_) encoder_.add_ponder_loss(loss_1, pass.rows_of(counted_N_), /*scale=*/0.0F, pass);
  loss_.forward(loss_1, rows, masked.targets_M, head, hits_1);
}

void MaskedLanguageModel::forward_backward(Tensor loss_1, Tensor tokens_BT, const MaskedTokens& masked,
                                           float scale, GradientReducer& reducer, const Pass& pass) {
  const Pass head = head_pass(masked.rows_M.dim(0), pass);
  const Tensor rows = forward_head(hidden_states(tokens_BT, pass), masked.rows_M, head);
  const Tensor drows = head.rows_of(dgathered_MC_);
  loss_.forward_backward(loss_1, drows, rows, masked.targets_M, scale, reducer, head);
  if (counted_N_) encoder_.add_ponder_loss(loss_1, pass.rows_of(counted_N_), scale, pass);
  if (transform_) {
    const ParametersInUse in_use(parameters_, transform_range_, pass.stream);
    reducer.expect(transform_range_, pass.stream);
    transform_->backward(drows, drows, head.rows_of(gathered_MC_), transform_activations_, reducer, head);
  }
  const Tensor dhidden = pass.rows_of(dhidden_NC_);
  fill(dhidden, 0.0F, pass.stream);
  embedding_backward(dhidden, {}, as_sequences(drows), masked.rows_M.view({head.batch, 1}), {}, 1.0F,
                     Dropout(), pass.stream);
  encoder_.backward(dhidden, tokens_BT, reducer, pass);
}

double MaskedLanguageModel::flops(std::int64_t sequences, std::int64_t sequence,
                                  std::int64_t predictions) const {
  // Weights that are multiplied with each token, and with each that is predicted.
  double weights = 0.0;
  auto head_weights = static_cast<double>(options_.vocabulary * options_.width);
  for (const Parameter& parameter : parameters_.parameters()) {
    const auto count = static_cast<double>(parameter.shape.num_elements());
    if (parameter.name.starts_with("blocks.")) weights += count;
    if (parameter.name.starts_with("output.transform")) head_weights += count;
  }
  // Keys that a query sees.
  const std::int64_t keys = options_.window > 0 ? std::min(sequence, 2 * options_.window - 1) : sequence;
  weights += static_cast<double>(2 * options_.layers * options_.heads * options_.head_width * keys);
  return 6.0 * (static_cast<double>(sequences * sequence) * weights +
                static_cast<double>(predictions) * head_weights);
}

}  // namespace trireme
