// Reads the batches of a run ahead of the training loop.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/prefetcher.h"
#include "data/sampler.h"
#include "data/token_dataset.h"

namespace trireme {

// How a run's samples are dealt out.  Optimizer step s takes the global batch of `batch_sequences` samples
// that follow those consumed before it; of its rows, in order, each rank takes an even share and computes it
// in microbatches.
struct BatchPlan {
  std::int64_t tokens_per_sequence = 0;
  std::int64_t batch_sequences = 0;       // of all ranks together
  std::int64_t microbatch_sequences = 0;  // of one rank at once, at most
  std::uint64_t seed = 0;                 // of the order of the samples
  int rank = 0;
  int num_ranks = 1;
  Documents documents = Documents::kJoined;
};

struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

// The rank's share of `num_rows`: shares differ by at most one row and cover all rows once.
RowRange rows_of_rank(std::int64_t num_rows, int rank, int num_ranks);

// Microbatches of this rank in a step, all full but perhaps the last.
std::int64_t microbatches_per_step(const BatchPlan& plan);
// How many more the rank has that has the most.
std::int64_t microbatches_more(const BatchPlan& plan);

// Throws the UserError for a split in which not even one sequence finds room.
void check_length(const TokenDataset& dataset, std::int64_t tokens_per_sequence);

// Windows [first_window, first_window + sequences) of the split in its own order, as for validation.
// REQUIRES: they are there; Sampler::windows_in() counts them.
void read_windows(TokenDataset& dataset, std::int64_t first_window, std::int64_t sequences,
                  std::int64_t tokens_per_sequence, Documents documents, Batch& batch);

// Gives the rank's microbatches one after another, without end.  A thread of its own fills up to `prefetch`
// of them ahead.  All that a run must remember to go on is the number of samples consumed.
class Loader {
 public:
  // `dataset` is the loader's alone until it is destroyed.  UserErrors: a split that is too short, more ranks
  // than sequences in the batch.  REQUIRES: prefetch >= 1.
  Loader(TokenDataset& dataset, const BatchPlan& plan, std::int64_t samples_consumed, std::int64_t prefetch);

  // Valid until the next call.  What went wrong in reading is thrown here, after the batches read before it.
  const Batch& next() { return prefetcher_.next(); }

  // Time that next() has waited for the disk: what loading didn't hide behind the computation.
  double seconds_waited() const { return prefetcher_.seconds_waited(); }

 private:
  void fill(Batch& batch);

  TokenDataset& dataset_;
  const BatchPlan plan_;
  const Sampler sampler_;
  const RowRange rows_;
  // Of the thread: where it is.
  std::int64_t step_sample_;  // number of the step's first sample
  std::int64_t next_row_;
  std::vector<std::int32_t> window_;
  std::vector<std::int64_t> starts_;

  Prefetcher<Batch> prefetcher_;  // the last member: its thread uses the others
};

}  // namespace trireme
