// What a rank translates at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/pair_dataset.h"

namespace trireme {

// Stands in target_outputs where a row has ended: no loss there.
inline constexpr std::int32_t kPaddingTarget = -1;

// Rows of sources and targets, row after row, each followed by padding up to one length.  For a pair x1 ..
// xs, y1 .. yt and the end token E:
//
//     sources          x1 x2 .. xs E  E E ..      length s + 1
//     target_inputs    E  y1 .. yt    E E ..      length t + 1
//     target_outputs   y1 y2 .. yt E -1 -1 ..
//
// Padding of inputs is E, so that any embedding has a row for it; only the lengths tell it from the end.
struct PairBatch {
  std::int64_t first_sample = 0;             // number of row 0 among all pairs of the run; the others follow
  std::int64_t sequences = 0;                // B
  std::int64_t source_length = 0;            // S, the longest of this batch or of its step
  std::int64_t target_length = 0;            // T
  std::vector<std::int32_t> sources;         // [B, S]
  std::vector<std::int32_t> target_inputs;   // [B, T]
  std::vector<std::int32_t> target_outputs;  // [B, T]
  std::vector<std::int32_t> source_lengths;  // [B], ends counted
  std::vector<std::int32_t> target_lengths;  // [B]

  // Of the optimizer step that it is a part of, all ranks together.
  std::int64_t step_sequences = 0;
  std::int64_t step_source_tokens = 0;  // ends counted, padding not
  std::int64_t step_target_tokens = 0;  // what the mean loss is a mean over
  bool ends_step = false;               // this rank's last microbatch of the step
  std::int64_t microbatches_more = 0;   // that the rank with the most of them has in the step
};

// Lengths to which rows are padded at least, ends counted.
struct PaddedLengths {
  std::int64_t source = 0;
  std::int64_t target = 0;
};

// Reads the pairs of these numbers as the rows of a batch, in order; says nothing of steps.
void read_pair_rows(PairDataset& dataset, std::span<const std::uint32_t> pairs, PairBatch& batch,
                    PaddedLengths at_least = {});

}  // namespace trireme
