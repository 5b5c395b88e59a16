#include "data/loader.h"

#include <algorithm>
#include <string>

#include <glog/logging.h>

#include "data/user_error.h"

namespace trireme {
namespace {

const BatchPlan& checked(const TokenDataset& dataset, const BatchPlan& plan, std::int64_t prefetch) {
  CHECK_GE(prefetch, 1);
  CHECK(plan.rank >= 0 && plan.rank < plan.num_ranks) << "rank " << plan.rank << " of " << plan.num_ranks;
  CHECK_GT(plan.microbatch_sequences, 0);
  check_length(dataset, plan.tokens_per_sequence);
  if (plan.batch_sequences < plan.num_ranks)
    throw UserError("train.batch_sequences",
                    "the global batch of " + std::to_string(plan.batch_sequences) +
                        " sequences can't be shared by " + std::to_string(plan.num_ranks) +
                        " data-parallel ranks",
                    "use a larger batch or fewer ranks");
  return plan;
}

void resize(Batch& batch, std::int64_t first_sample, std::int64_t sequences,
            std::int64_t tokens_per_sequence) {
  batch.first_sample = first_sample;
  batch.sequences = sequences;
  batch.tokens_per_sequence = tokens_per_sequence;
  const auto size = static_cast<std::size_t>(sequences * tokens_per_sequence);
  batch.inputs.resize(size);
  batch.targets.resize(size);
}

// `window` is scratch.
void read_row(TokenDataset& dataset, std::int64_t position, std::int64_t row,
              std::vector<std::int32_t>& window, Batch& batch) {
  window.resize(static_cast<std::size_t>(batch.tokens_per_sequence) + 1);
  dataset.read(position, window);
  const std::int64_t begin = row * batch.tokens_per_sequence;
  std::copy(window.begin(), window.end() - 1, batch.inputs.begin() + begin);
  std::copy(window.begin() + 1, window.end(), batch.targets.begin() + begin);
}

}  // namespace

RowRange rows_of_rank(std::int64_t num_rows, int rank, int num_ranks) {
  return {rank * num_rows / num_ranks, (rank + 1) * num_rows / num_ranks};
}

std::int64_t microbatches_per_step(const BatchPlan& plan) {
  const std::int64_t rows = rows_of_rank(plan.batch_sequences, plan.rank, plan.num_ranks).size();
  return (rows + plan.microbatch_sequences - 1) / plan.microbatch_sequences;
}

void check_length(const TokenDataset& dataset, std::int64_t tokens_per_sequence) {
  CHECK_GT(tokens_per_sequence, 0);
  if (Sampler::windows_in(dataset.num_tokens(), tokens_per_sequence) > 0) return;
  throw UserError(dataset.folder().string(),
                  "split '" + dataset.split() + "' has " + std::to_string(dataset.num_tokens()) +
                      " tokens, too few for one sequence of " + std::to_string(tokens_per_sequence) +
                      " and the token after it",
                  "prepare more text or shorten the sequences (model.context)");
}

void read_windows(TokenDataset& dataset, std::int64_t first_window, std::int64_t sequences,
                  std::int64_t tokens_per_sequence, Batch& batch) {
  std::vector<std::int32_t> window;
  resize(batch, first_window, sequences, tokens_per_sequence);
  for (std::int64_t row = 0; row < sequences; ++row)
    read_row(dataset, (first_window + row) * tokens_per_sequence, row, window, batch);
}

Loader::Loader(TokenDataset& dataset, const BatchPlan& plan, std::int64_t samples_consumed,
               std::int64_t prefetch)
    : dataset_(dataset),
      plan_(checked(dataset, plan, prefetch)),
      sampler_(dataset.num_tokens(), plan.tokens_per_sequence, plan.seed),
      rows_(rows_of_rank(plan.batch_sequences, plan.rank, plan.num_ranks)),
      step_sample_(samples_consumed),
      next_row_(rows_.begin),
      prefetcher_(static_cast<std::size_t>(prefetch), [this](Batch& batch) { fill(batch); }) {}

void Loader::fill(Batch& batch) {
  const std::int64_t sequences = std::min(plan_.microbatch_sequences, rows_.end - next_row_);
  const std::int64_t first_sample = step_sample_ + next_row_;
  resize(batch, first_sample, sequences, plan_.tokens_per_sequence);
  for (std::int64_t row = 0; row < sequences; ++row)
    read_row(dataset_, sampler_.position(first_sample + row), row, window_, batch);
  next_row_ += sequences;
  if (next_row_ < rows_.end) return;
  next_row_ = rows_.begin;
  step_sample_ += plan_.batch_sequences;
}

}  // namespace trireme
