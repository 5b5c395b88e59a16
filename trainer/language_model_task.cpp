#include "trainer/language_model_task.h"

#include <algorithm>

#include "trainer/batch_tensors.h"
#include "trainer/evaluate.h"
#include "trainer/model_parts.h"

namespace trireme {

LanguageModelTask::LanguageModelTask(const Config& config, Mesh& mesh, Stream stream)
    : config_(config),
      batch_sequences_(batch_sequences(config)),
      mesh_(mesh),
      training_data_(config.data.path, kTrainSplit),
      validation_data_(config.data.path, kValidationSplit),
      options_(TransformerOptions::from_config(config.model, training_data_.vocab_size())),
      model_(options_, ParameterMemory::kValuesAndGradients,
             share_of_model(config.parallel, options_, mesh, stream, dtype_of(config.train))),
      upload_(stream),
      runner_(pipeline_runner(config.parallel, mesh)) {
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
  batches_.resize(static_cast<std::size_t>(microbatches_per_step(plan_)));
  const auto microbatches = static_cast<int>(batches_.size());
  check_schedule(runner_, microbatches);
  model_.allocate({.batch = microbatch_sequences(),
                   .sequence = config_.model.context,
                   .training = true,
                   .slots = static_cast<std::size_t>(runner_.num_slots(microbatches)),
                   .recompute = recompute_of(config_.train.recompute),
                   .deferred_weights = config_.parallel.schedule == "zero_bubble"});
}

StepSize LanguageModelTask::read_batch() {
  upload_.begin();
  tensors_.clear();
  for (Batch& batch : batches_) {
    batch = loader_->next();
    tensors_.emplace_back(batch, upload_);
  }
  const std::int64_t tokens = batch_sequences_ * config_.model.context;
  return {.samples = batch_sequences_,
          .tokens = tokens,
          .targets = tokens,
          .flops = static_cast<double>(tokens) * model_.flops_per_token(config_.model.context)};
}

std::optional<int> LanguageModelTask::alike() const {
  if (options_.dropout > 0.0F || options_.attention_dropout > 0.0F) return std::nullopt;  // of the step
  return upload_.current();
}

void LanguageModelTask::accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                                             Stream stream) {
  const std::int64_t context = config_.model.context;
  const std::int64_t tokens = batch_sequences_ * context;
  const auto microbatch = [&](int i) -> Microbatch<TextTensors> {
    const auto index = static_cast<std::size_t>(i);
    const Batch& batch = batches_[index];
    const BatchTensors& tensors = tensors_[index];
    return {.tensors = {.inputs_BT = tensors.inputs_BT, .targets_BT = tensors.targets_BT},
            .pass = {.batch = batch.sequences,
                     .sequence = context,
                     .dropout = {.probability = options_.dropout,
                                 .attention_probability = options_.attention_dropout,
                                 .seed = static_cast<std::uint64_t>(config_.run.seed),
                                 .step = step,
                                 .first_sequence = batch.first_sample},
                     .documents_BT = tensors.documents_BT,
                     .positions_BT = tensors.positions_BT,
                     .label_smoothing = static_cast<float>(config_.train.label_smoothing),
                     .cross_entropy_1 = loss_2.slice(0, 1, 2),
                     .ponder_cost = static_cast<float>(config_.train.ponder_cost),
                     .attention = attention_of(config_),
                     .stream = stream},
            .scale = 1.0F / static_cast<float>(tokens)};
  };
  const auto microbatches = static_cast<int>(batches_.size());
  Stage stage(model_, microbatch, microbatches, mesh_.pipeline().size(), loss_2.slice(0, 0, 1), reducer);
  runner_.run(stage, microbatches, stream);
  reducer.sit_out(microbatches_more(plan_), stream);
}

Validation LanguageModelTask::validate() {
  LoopCount loops;
  const auto forward_loss = [&](Tensor loss_1, const TextTensors& text, const Pass& pass) {
    Microbatch<TextTensors> microbatch{.tensors = text, .pass = pass};
    microbatch.pass.loop_count = &loops;
    Stage stage(
        model_, [&](int) { return microbatch; }, loss_1);
    runner_.run_forward(stage, /*num_microbatches=*/1, pass.stream);
  };
  const double loss =
      evaluate_loss(forward_loss, config_.model.context, validation_data_, documents_of(config_.data),
                    config_.train.eval_sequences, microbatch_sequences(), mesh_.data(), model_.stream());
  return {.loss = from_last_stage(loss, mesh_),
          .bleu = {},
          .mean_loops = mean_loops(loops, mesh_.data()),
          .attention_entropies = evaluate_attention(model_, validation_data_, documents_of(config_.data),
                                                    config_.train.eval_attention, mesh_.data())};
}

}  // namespace trireme
