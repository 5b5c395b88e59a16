// Reads the batches of a translation run ahead of the training loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "data/loader.h"
#include "data/pair_batch.h"
#include "data/pair_dataset.h"
#include "data/pair_epoch.h"
#include "data/prefetcher.h"

namespace trireme {

// How a run's pairs are dealt out.  Each optimizer step takes the next batch of the PairEpoch; of its rows,
// in order, each rank takes an even share and computes it in equal microbatches.  All are padded to the
// longest of the step: so a row, and where its dropout masks lie, is the same however the batch is cut.
struct PairBatchPlan {
  std::int64_t batch_tokens = 0;       // of all ranks together, on the longer side, padding counted
  std::int64_t microbatch_tokens = 0;  // of one rank at once, at most
  std::uint64_t seed = 0;              // of the order of the pairs
  int rank = 0;
  int num_ranks = 1;
};

// Gives the rank's microbatches one after another, without end: those of a step, up to the one that says
// `ends_step`, then those of the next.  Ranks may have different numbers of them, but each has one at least.
// Of a microbatch of B pairs neither B * S nor B * T is above microbatch_tokens.
//
// All that a run must remember to go on is the number of pairs consumed, the sum of step_sequences: one
// integer, from which the epoch and the place in it follow.
class PairLoader {
 public:
  // `dataset` is the loader's alone until it is destroyed.  UserErrors: a pair that is longer than a
  // microbatch, batches or a split too small for so many ranks, a number of consumed pairs at which no batch
  // begins, as after a change of batch_tokens amid an epoch.  REQUIRES: prefetch >= 1.
  PairLoader(PairDataset& dataset, const PairBatchPlan& plan, std::int64_t pairs_consumed,
             std::int64_t prefetch);

  // Valid until the next call.  What went wrong in reading is thrown here, after the batches read before it.
  const PairBatch& next() { return prefetcher_.next(); }

  // Time that next() has waited for the disk: what loading didn't hide behind the computation.
  double seconds_waited() const { return prefetcher_.seconds_waited(); }

 private:
  void begin_step();
  void fill(PairBatch& batch);

  PairDataset& dataset_;
  const PairBatchPlan plan_;
  // Of the thread: where it is.
  std::int64_t epoch_;
  std::unique_ptr<const PairEpoch> order_;  // of the epoch
  std::int64_t next_batch_;                 // of the epoch
  std::span<const std::uint32_t> pairs_;    // of the step
  std::int64_t first_sample_ = 0;           // of the step
  RowRange rows_;                           // of pairs_: this rank's
  std::int64_t num_microbatches_ = 0;
  std::int64_t most_microbatches_ = 0;  // of any rank
  std::int64_t microbatch_ = 0;         // the next one
  PaddedLengths step_lengths_;
  std::int64_t step_source_tokens_ = 0;
  std::int64_t step_target_tokens_ = 0;

  Prefetcher<PairBatch> prefetcher_;  // the last member: its thread uses the others
};

}  // namespace trireme
