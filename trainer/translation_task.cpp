#include "trainer/translation_task.h"

#include <algorithm>

#include "data/manifest.h"
#include "trainer/evaluate_pairs.h"
#include "trainer/model_parts.h"
#include "trainer/translate.h"

namespace trireme {

TranslationTask::TranslationTask(const Config& config, Mesh& mesh, Stream stream)
    : config_(config),
      mesh_(mesh),
      training_data_(config.data.path, kTrainSplit),
      validation_data_(config.data.path, kValidationSplit),
      tokenizer_(load_tokenizer(training_data_.folder() / kTokenizerFile)),
      options_(TransformerOptions::from_config(config.model, training_data_.vocab_size())),
      model_(options_, ParameterMemory::kValuesAndGradients,
             share_of_model(config.parallel, options_, mesh, stream, dtype_of(config.train))),
      upload_(stream),
      runner_(pipeline_runner(config.parallel, mesh)) {
  check_pairs(training_data_, config_.model.context);
  check_pairs(validation_data_, config_.model.context);
}

std::int64_t TranslationTask::microbatch_tokens() const {
  const std::int64_t batch = config_.train.batch_tokens;
  const std::int64_t asked = config_.train.microbatch_tokens > 0 ? config_.train.microbatch_tokens : batch;
  // Of B rows a rank has at most B / ranks, rounded up.
  return std::min(asked, batch / mesh_.data().size() + config_.model.context);
}

std::int64_t TranslationTask::allocated_tokens() const {
  return std::max({microbatch_tokens(), longest_sentence(validation_data_), BeamOptions().beam});
}

void TranslationTask::start(std::int64_t samples_consumed) {
  const PairBatchPlan plan{.batch_tokens = config_.train.batch_tokens,
                           .microbatch_tokens = microbatch_tokens(),
                           .seed = static_cast<std::uint64_t>(config_.run.seed),
                           .rank = mesh_.data().rank(),
                           .num_ranks = mesh_.data().size()};
  loader_ = std::make_unique<PairLoader>(training_data_, plan, samples_consumed, config_.data.prefetch);
  allocate_slots(runner_.num_slots(1));
}

void TranslationTask::allocate_slots(int slots) {
  if (slots <= num_slots_) return;
  num_slots_ = slots;
  const std::int64_t tokens = allocated_tokens();
  model_.allocate({.source_tokens = tokens,
                   .target_tokens = tokens,
                   .training = true,
                   .slots = static_cast<std::size_t>(slots),
                   .recompute = recompute_of(config_.train.recompute),
                   .deferred_weights = config_.parallel.schedule == "zero_bubble"});
}

StepSize TranslationTask::read_batch() {
  batches_.clear();
  do {
    batches_.push_back(loader_->next());
  } while (!batches_.back().ends_step);
  upload_.begin();
  tensors_.clear();
  for (const PairBatch& batch : batches_) tensors_.push_back(tensors_of(batch, upload_));
  const PairBatch& last = batches_.back();
  return {.samples = last.step_sequences,
          .tokens = last.step_target_tokens,
          .targets = last.step_target_tokens,
          .flops = model_.flops(last.step_sequences, last.step_source_tokens, last.step_target_tokens)};
}

void TranslationTask::accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                                           Stream stream) {
  const auto microbatch = [&](int i) -> Microbatch<PairTensors> {
    const PairBatch& batch = batches_[static_cast<std::size_t>(i)];
    return {.tensors = tensors_[static_cast<std::size_t>(i)],
            .pass = {.dropout = {.probability = options_.dropout,
                                 .attention_probability = options_.attention_dropout,
                                 .seed = static_cast<std::uint64_t>(config_.run.seed),
                                 .step = step,
                                 .first_sequence = batch.first_sample},
                     .label_smoothing = static_cast<float>(config_.train.label_smoothing),
                     .cross_entropy_1 = loss_2.slice(0, 1, 2),
                     .ponder_cost = static_cast<float>(config_.train.ponder_cost),
                     .attention = attention_of(config_),
                     .stream = stream},
            .scale = 1.0F / static_cast<float>(batch.step_target_tokens)};
  };
  const auto microbatches = static_cast<int>(batches_.size());
  allocate_slots(runner_.num_slots(microbatches));
  Stage stage(model_, microbatch, microbatches, mesh_.pipeline().size(), loss_2.slice(0, 0, 1), reducer);
  runner_.run(stage, microbatches, stream);
  reducer.sit_out(batches_.back().microbatches_more, stream);
}

Validation TranslationTask::validate() {
  const std::int64_t tokens = allocated_tokens();
  LoopCount loops;
  const auto forward_loss = [&](Tensor loss_1, const PairTensors& pairs, const Pass& pass) {
    Microbatch<PairTensors> microbatch{.tensors = pairs, .pass = pass};
    microbatch.pass.loop_count = &loops;
    Stage stage(
        model_, [&](int) { return microbatch; }, loss_1);
    runner_.run_forward(stage, /*num_microbatches=*/1, pass.stream);
  };
  const double loss = evaluate_pairs(forward_loss, validation_data_, config_.train.eval_sequences, tokens,
                                     mesh_.data(), model_.stream());
  Validation result{.loss = from_last_stage(loss, mesh_)};
  result.mean_loops = mean_loops(loops, mesh_.data());
  if (const std::int64_t pairs = config_.train.eval_translations; pairs > 0) {
    const TranslationScores scores =
        score_translations(model_, validation_data_, *tokenizer_, pairs, BeamOptions(), tokens, mesh_.data());
    result.bleu = bleu(scores.bleu).score;
  }
  result.attention_entropies =
      evaluate_attention(model_, validation_data_, config_.train.eval_attention, mesh_.data());
  return result;
}

}  // namespace trireme
