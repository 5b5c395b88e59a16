#include "trainer/masked_language_model_task.h"

#include <algorithm>

#include "trainer/batch_tensors.h"
#include "trainer/evaluate_masked.h"

namespace trireme {

MaskedLanguageModelTask::MaskedLanguageModelTask(const Config& config, Mesh& mesh, Stream stream)
    : config_(config),
      batch_sequences_(batch_sequences(config)),
      mesh_(mesh),
      training_data_(config.data.path, kTrainSplit),
      validation_data_(config.data.path, kValidationSplit),
      tokenizer_(load_tokenizer(training_data_.folder() / kTokenizerFile)),
      model_(TransformerOptions::from_config(config.model, vocabulary_with_mask(*tokenizer_)),
             ParameterMemory::kValuesAndGradients, stream, dtype_of(config.train)),
      upload_(stream) {
  check_length(training_data_, config_.model.context);
  check_length(validation_data_, config_.model.context);
}

std::int64_t MaskedLanguageModelTask::microbatch_sequences() const {
  return std::min(config_.train.microbatch_sequences, batch_sequences_);
}

std::int64_t MaskedLanguageModelTask::predictions(std::int64_t sequences) const {
  return sequences * num_masked(config_.model.context, config_.train.mask_probability);
}

void MaskedLanguageModelTask::start(std::int64_t samples_consumed) {
  plan_ = {.tokens_per_sequence = config_.model.context,
           .batch_sequences = batch_sequences_,
           .microbatch_sequences = config_.train.microbatch_sequences,
           .seed = static_cast<std::uint64_t>(config_.run.seed),
           .rank = mesh_.data().rank(),
           .num_ranks = mesh_.data().size(),
           .documents = documents_of(config_.data)};
  loader_ = std::make_unique<Loader>(training_data_, plan_, samples_consumed, config_.data.prefetch);
  microbatches_.resize(static_cast<std::size_t>(microbatches_per_step(plan_)));
  model_.allocate({.batch = microbatch_sequences(),
                   .sequence = config_.model.context,
                   .training = true,
                   .recompute = recompute_of(config_.train.recompute)},
                  predictions(microbatch_sequences()));
}

StepSize MaskedLanguageModelTask::read_batch() {
  const std::int64_t context = config_.model.context;
  const Masking masking{.probability = config_.train.mask_probability,
                        .mask_token = mask_token_of(*tokenizer_),
                        .vocabulary = tokenizer_->vocab_size(),
                        .seed = static_cast<std::uint64_t>(config_.run.seed)};
  upload_.begin();
  for (Microbatch& read : microbatches_) {
    read.batch = loader_->next();
    mask_tokens(read.batch.inputs, context, read.batch.first_sample, masking, read.masked);
    const BatchTensors tensors(read.batch, upload_);
    read.inputs_BT =
        upload_.bring({read.masked.inputs.data(), DType::kInt32, {read.batch.sequences, context}});
    read.targets = tensors_of(read.masked, upload_);
    read.documents_BT = tensors.documents_BT;
    read.positions_BT = tensors.positions_BT;
  }
  const std::int64_t targets = predictions(batch_sequences_);
  return {.samples = batch_sequences_,
          .tokens = batch_sequences_ * context,
          .targets = targets,
          .flops = model_.flops(batch_sequences_, context, targets)};
}

std::optional<int> MaskedLanguageModelTask::alike() const {
  if (model_.options().dropout > 0.0F || model_.options().attention_dropout > 0.0F) return std::nullopt;
  return upload_.current();
}

void MaskedLanguageModelTask::accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                                                   Stream stream) {
  const float scale = 1.0F / static_cast<float>(predictions(batch_sequences_));
  for (const Microbatch& microbatch : microbatches_) {
    const Pass pass{.batch = microbatch.batch.sequences,
                    .sequence = config_.model.context,
                    .dropout = {.probability = model_.options().dropout,
                                .attention_probability = model_.options().attention_dropout,
                                .seed = static_cast<std::uint64_t>(config_.run.seed),
                                .step = step,
                                .first_sequence = microbatch.batch.first_sample},
                    .documents_BT = microbatch.documents_BT,
                    .positions_BT = microbatch.positions_BT,
                    .label_smoothing = static_cast<float>(config_.train.label_smoothing),
                    .cross_entropy_1 = loss_2.slice(0, 1, 2),
                    .ponder_cost = static_cast<float>(config_.train.ponder_cost),
                    .attention = attention_of(config_),
                    .stream = stream};
    reducer.begin(/*is_last_microbatch=*/&microbatch == &microbatches_.back());
    model_.forward_backward(loss_2.slice(0, 0, 1), microbatch.inputs_BT, microbatch.targets, scale, reducer,
                            pass);
  }
  reducer.sit_out(microbatches_more(plan_), stream);
}

Validation MaskedLanguageModelTask::validate() {
  const Masking masking = validation_masking(*tokenizer_, config_.train.mask_probability);
  const Documents documents = documents_of(config_.data);
  LoopCount loops;
  const MaskedScore score =
      evaluate_masked(model_, validation_data_, masking, documents, config_.train.eval_sequences,
                      microbatch_sequences(), mesh_.data(), &loops);
  return {.loss = score.loss,
          .accuracy = score.accuracy,
          .mean_loops = mean_loops(loops, mesh_.data()),
          .attention_entropies = evaluate_attention(model_, validation_data_, masking, documents,
                                                    config_.train.eval_attention, mesh_.data())};
}

}  // namespace trireme
