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

void resize(Batch& batch, std::int64_t first_sample, std::int64_t sequences, std::int64_t tokens_per_sequence,
            Documents documents) {
  batch.first_sample = first_sample;
  batch.sequences = sequences;
  batch.tokens_per_sequence = tokens_per_sequence;
  const auto size = static_cast<std::size_t>(sequences * tokens_per_sequence);
  batch.inputs.resize(size);
  batch.targets.resize(size);
  batch.documents.resize(documents == Documents::kSeparate ? size : 0);
  batch.positions.resize(batch.documents.size());
}

// `starts` is scratch.
void separate_documents(TokenDataset& dataset, std::int64_t position, std::int64_t row,
                        std::vector<std::int64_t>& starts, Batch& batch) {
  const std::int64_t length = batch.tokens_per_sequence;
  // A document takes in the token before its start; that of the row's first token changes nothing.
  starts.clear();
  dataset.document_starts(position + 2, length - 1, starts);
  auto start = starts.begin();
  std::int32_t document = 0;
  std::int64_t begin = 0;
  for (std::int64_t t = 0; t < length; ++t) {
    if (start != starts.end() && *start == position + t + 1) {
      ++start;
      ++document;
      begin = t;
    }
    const auto i = static_cast<std::size_t>(row * length + t);
    batch.documents[i] = document;
    batch.positions[i] = static_cast<std::int32_t>(t - begin);
  }
}

// `window` and `starts` are scratch.
void read_row(TokenDataset& dataset, std::int64_t position, std::int64_t row,
              std::vector<std::int32_t>& window, std::vector<std::int64_t>& starts, Batch& batch) {
  window.resize(static_cast<std::size_t>(batch.tokens_per_sequence) + 1);
  dataset.read(position, window);
  const std::int64_t begin = row * batch.tokens_per_sequence;
  std::copy(window.begin(), window.end() - 1, batch.inputs.begin() + begin);
  std::copy(window.begin() + 1, window.end(), batch.targets.begin() + begin);
  if (!batch.documents.empty()) separate_documents(dataset, position, row, starts, batch);
}

}  // namespace

RowRange rows_of_rank(std::int64_t num_rows, int rank, int num_ranks) {
  return {rank * num_rows / num_ranks, (rank + 1) * num_rows / num_ranks};
}

std::int64_t microbatches_per_step(const BatchPlan& plan) {
  const std::int64_t rows = rows_of_rank(plan.batch_sequences, plan.rank, plan.num_ranks).size();
  return (rows + plan.microbatch_sequences - 1) / plan.microbatch_sequences;
}

std::int64_t microbatches_more(const BatchPlan& plan) {
  BatchPlan last = plan;  // which has as many rows as any
  last.rank = plan.num_ranks - 1;
  return microbatches_per_step(last) - microbatches_per_step(plan);
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
                  std::int64_t tokens_per_sequence, Documents documents, Batch& batch) {
  std::vector<std::int32_t> window;
  std::vector<std::int64_t> starts;
  resize(batch, first_window, sequences, tokens_per_sequence, documents);
  for (std::int64_t row = 0; row < sequences; ++row)
    read_row(dataset, (first_window + row) * tokens_per_sequence, row, window, starts, batch);
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
  resize(batch, first_sample, sequences, plan_.tokens_per_sequence, plan_.documents);
  for (std::int64_t row = 0; row < sequences; ++row)
    read_row(dataset_, sampler_.position(first_sample + row), row, window_, starts_, batch);
  next_row_ += sequences;
  if (next_row_ < rows_.end) return;
  next_row_ = rows_.begin;
  step_sample_ += plan_.batch_sequences;
}

}  // namespace trireme
