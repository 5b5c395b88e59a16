#include "data/pair_loader.h"

#include <algorithm>
#include <string>

#include <glog/logging.h>

#include "data/user_error.h"

namespace trireme {
namespace {

std::int64_t longest_side(std::span<const PairLengths> lengths) {
  std::int64_t longest = 0;
  for (const PairLengths& pair : lengths) longest = std::max(longest, longer_side(pair));
  return longest;
}

// Every batch has a row for each rank: PairEpoch fills it until the next pair doesn't fit, and halves the
// last two at worst.
const PairBatchPlan& checked(const PairDataset& dataset, const PairBatchPlan& plan, std::int64_t prefetch) {
  CHECK_GE(prefetch, 1);
  CHECK(plan.rank >= 0 && plan.rank < plan.num_ranks) << "rank " << plan.rank << " of " << plan.num_ranks;
  const std::int64_t longest = longest_side(dataset.lengths());
  const std::string split = "split '" + dataset.split() + "' ";
  if (dataset.num_pairs() < plan.num_ranks)
    throw UserError(dataset.folder().string(),
                    split + "has " + std::to_string(dataset.num_pairs()) + " pairs, too few for " +
                        std::to_string(plan.num_ranks) + " data-parallel ranks",
                    "prepare more text or use fewer ranks");
  if (plan.microbatch_tokens < longest)
    throw UserError("train.microbatch_tokens",
                    "is " + std::to_string(plan.microbatch_tokens) + ", but " + split + "has a sentence of " +
                        std::to_string(longest) + " tokens (its end counted)",
                    "raise it, or prepare the data with a smaller --max-tokens");
  const std::int64_t needed = plan.num_ranks == 1 ? longest : 2 * longest * plan.num_ranks;
  if (plan.batch_tokens < needed)
    throw UserError("train.batch_tokens",
                    "is " + std::to_string(plan.batch_tokens) + ": too few for " +
                        std::to_string(plan.num_ranks) + " data-parallel ranks and sentences of up to " +
                        std::to_string(longest) + " tokens",
                    "use " + std::to_string(needed) + " or more, fewer ranks, or a smaller --max-tokens");
  return plan;
}

// Where a run that has consumed so many pairs of the epoch goes on.
std::int64_t batch_at(const PairEpoch& epoch, std::int64_t consumed, const PairBatchPlan& plan) {
  if (const auto batch = epoch.batch_at(consumed)) return *batch;
  throw UserError("train.batch_tokens",
                  "is " + std::to_string(plan.batch_tokens) + ", by which no batch begins at pair " +
                      std::to_string(consumed) + " of the epoch, where the run stopped",
                  "go on with the batch_tokens (and seed) of before: they can't change amid an epoch");
}

}  // namespace

PairLoader::PairLoader(PairDataset& dataset, const PairBatchPlan& plan, std::int64_t pairs_consumed,
                       std::int64_t prefetch)
    : dataset_(dataset),
      plan_(checked(dataset, plan, prefetch)),
      epoch_(pairs_consumed / dataset.num_pairs()),
      order_(std::make_unique<PairEpoch>(dataset.lengths(), plan.batch_tokens, plan.seed, epoch_)),
      next_batch_(batch_at(*order_, pairs_consumed % dataset.num_pairs(), plan)),
      prefetcher_(static_cast<std::size_t>(prefetch), [this](PairBatch& batch) { fill(batch); }) {}

void PairLoader::begin_step() {
  if (next_batch_ == order_->num_batches()) {
    ++epoch_;
    order_.reset();  // not two of them in memory
    order_ = std::make_unique<PairEpoch>(dataset_.lengths(), plan_.batch_tokens, plan_.seed, epoch_);
    next_batch_ = 0;
  }
  pairs_ = order_->pairs(next_batch_);
  first_sample_ = epoch_ * dataset_.num_pairs() + order_->begin(next_batch_);
  ++next_batch_;

  std::int64_t longest = 0;
  step_lengths_ = {};
  step_source_tokens_ = 0;
  step_target_tokens_ = 0;
  for (const std::uint32_t pair : pairs_) {
    const PairLengths lengths = dataset_.lengths()[pair];
    longest = std::max(longest, longer_side(lengths));
    step_lengths_.source = std::max<std::int64_t>(step_lengths_.source, lengths.source + 1);
    step_lengths_.target = std::max<std::int64_t>(step_lengths_.target, lengths.target + 1);
    step_source_tokens_ += lengths.source + 1;
    step_target_tokens_ += lengths.target + 1;
  }
  rows_ = rows_of_rank(static_cast<std::int64_t>(pairs_.size()), plan_.rank, plan_.num_ranks);
  const std::int64_t rows_at_once = plan_.microbatch_tokens / longest;
  const auto microbatches_of = [&](const RowRange& rows) {
    return (rows.size() + rows_at_once - 1) / rows_at_once;
  };
  num_microbatches_ = microbatches_of(rows_);
  // The last rank has as many rows as any.
  most_microbatches_ = microbatches_of(
      rows_of_rank(static_cast<std::int64_t>(pairs_.size()), plan_.num_ranks - 1, plan_.num_ranks));
  microbatch_ = 0;
}

void PairLoader::fill(PairBatch& batch) {
  if (microbatch_ == num_microbatches_) begin_step();
  const RowRange part =
      rows_of_rank(rows_.size(), static_cast<int>(microbatch_), static_cast<int>(num_microbatches_));
  const std::int64_t first_row = rows_.begin + part.begin;
  read_pair_rows(dataset_,
                 pairs_.subspan(static_cast<std::size_t>(first_row), static_cast<std::size_t>(part.size())),
                 batch, step_lengths_);
  ++microbatch_;
  batch.first_sample = first_sample_ + first_row;
  batch.step_sequences = static_cast<std::int64_t>(pairs_.size());
  batch.step_source_tokens = step_source_tokens_;
  batch.step_target_tokens = step_target_tokens_;
  batch.ends_step = microbatch_ == num_microbatches_;
  batch.microbatches_more = most_microbatches_ - num_microbatches_;
}

}  // namespace trireme
