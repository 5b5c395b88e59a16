#include "trainer/translation_task.h"

#include <algorithm>

#include "data/manifest.h"
#include "trainer/evaluate_pairs.h"
#include "trainer/translate.h"

namespace trireme {

TranslationTask::TranslationTask(const Config& config, Mesh& mesh)
    : config_(config),
      mesh_(mesh),
      training_data_(config.data.path, kTrainSplit),
      validation_data_(config.data.path, kValidationSplit),
      tokenizer_(load_tokenizer(training_data_.folder() / kTokenizerFile)),
      model_(TransformerOptions::from_config(config.model, training_data_.vocab_size())) {
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
  const std::int64_t tokens = allocated_tokens();
  model_.allocate({.source_tokens = tokens, .target_tokens = tokens, .training = true});
}

StepSize TranslationTask::accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                                               Stream stream) {
  for (;;) {
    const PairBatch& batch = loader_->next();
    const Pass pass{.dropout = {.probability = model_.options().dropout,
                                .attention_probability = model_.options().attention_dropout,
                                .seed = static_cast<std::uint64_t>(config_.run.seed),
                                .step = step,
                                .first_sequence = batch.first_sample},
                    .label_smoothing = static_cast<float>(config_.train.label_smoothing),
                    .cross_entropy_1 = loss_2.slice(0, 1, 2),
                    .ponder_cost = static_cast<float>(config_.train.ponder_cost),
                    .stream = stream};
    reducer.begin(/*is_last_microbatch=*/batch.ends_step);
    model_.forward_backward(loss_2.slice(0, 0, 1), tensors_of(batch),
                            1.0F / static_cast<float>(batch.step_target_tokens), reducer, pass);
    if (!batch.ends_step) continue;
    return {.samples = batch.step_sequences,
            .tokens = batch.step_target_tokens,
            .targets = batch.step_target_tokens,
            .flops = model_.flops(batch.step_sequences, batch.step_source_tokens, batch.step_target_tokens)};
  }
}

Validation TranslationTask::validate() {
  const std::int64_t tokens = allocated_tokens();
  LoopCount loops;
  Validation result{.loss = evaluate_pairs(model_, validation_data_, config_.train.eval_sequences, tokens,
                                           mesh_.data(), &loops)};
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
