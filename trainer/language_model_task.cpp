#include "trainer/language_model_task.h"

#include <algorithm>

#include "trainer/batch_tensors.h"
#include "trainer/evaluate.h"

namespace trireme {

LanguageModelTask::LanguageModelTask(const Config& config, Mesh& mesh)
    : config_(config),
      batch_sequences_(batch_sequences(config)),
      mesh_(mesh),
      training_data_(config.data.path, kTrainSplit),
      validation_data_(config.data.path, kValidationSplit),
      model_(TransformerOptions::from_config(config.model, training_data_.vocab_size())) {
  check_length(training_data_, config_.model.context);
  check_length(validation_data_, config_.model.context);
}

std::int64_t LanguageModelTask::microbatch_sequences() const {
  return std::min(config_.train.microbatch_sequences, batch_sequences_);
}

void LanguageModelTask::start(std::int64_t samples_consumed) {
  plan_ = {.tokens_per_sequence = config_.model.context,
           .batch_sequences = batch_sequences_,
           .microbatch_sequences = config_.train.microbatch_sequences,
           .seed = static_cast<std::uint64_t>(config_.run.seed),
           .rank = mesh_.data().rank(),
           .num_ranks = mesh_.data().size(),
           .documents = documents_of(config_.data)};
  loader_ = std::make_unique<Loader>(training_data_, plan_, samples_consumed, config_.data.prefetch);
  model_.allocate({.batch = microbatch_sequences(), .sequence = config_.model.context, .training = true});
}

StepSize LanguageModelTask::accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                                                 Stream stream) {
  const std::int64_t context = config_.model.context;
  const std::int64_t tokens = batch_sequences_ * context;
  const float scale = 1.0F / static_cast<float>(tokens);
  const std::int64_t microbatches = microbatches_per_step(plan_);
  for (std::int64_t i = 0; i < microbatches; ++i) {
    const Batch& batch = loader_->next();
    const BatchTensors tensors(batch);
    const Pass pass{.batch = batch.sequences,
                    .sequence = context,
                    .dropout = {.probability = model_.options().dropout,
                                .attention_probability = model_.options().attention_dropout,
                                .seed = static_cast<std::uint64_t>(config_.run.seed),
                                .step = step,
                                .first_sequence = batch.first_sample},
                    .documents_BT = tensors.documents_BT,
                    .positions_BT = tensors.positions_BT,
                    .label_smoothing = static_cast<float>(config_.train.label_smoothing),
                    .cross_entropy_1 = loss_2.slice(0, 1, 2),
                    .ponder_cost = static_cast<float>(config_.train.ponder_cost),
                    .stream = stream};
    reducer.begin(/*is_last_microbatch=*/i + 1 == microbatches);
    model_.forward_backward(loss_2.slice(0, 0, 1), tensors.inputs_BT, tensors.targets_BT, scale, reducer,
                            pass);
  }
  return {.samples = batch_sequences_,
          .tokens = tokens,
          .targets = tokens,
          .flops = static_cast<double>(tokens) * model_.flops_per_token(context)};
}

Validation LanguageModelTask::validate() {
  LoopCount loops;
  const double loss =
      evaluate_loss(model_, validation_data_, documents_of(config_.data), config_.train.eval_sequences,
                    microbatch_sequences(), mesh_.data(), &loops);
  return {.loss = loss,
          .mean_loops = mean_loops(loops, mesh_.data()),
          .attention_entropies = evaluate_attention(model_, validation_data_, documents_of(config_.data),
                                                    config_.train.eval_attention, mesh_.data())};
}

}  // namespace trireme
