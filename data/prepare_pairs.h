// From parallel text to a data set of pairs: shards, tokenizer, manifest.
#pragma once

#include <cstdint>
#include <functional>

#include "data/pair_reader.h"
#include "data/prepare.h"

namespace trireme {

struct PairPrepareOptions {
  PairInputs inputs;
  std::int64_t max_tokens = 256;  // of a source, of a target: pairs with a longer side are left out

  // Output, tokenizer, share for validation and so on, as for text; `inputs` and `documents` aren't looked
  // at.
  PrepareOptions common;
};

struct PairPrepareSummary {
  Manifest manifest;
  std::int64_t num_files = 0;
  std::int64_t num_passed_over = 0;  // files in folders whose names say nothing of pairs
  PairCounts read;
  std::int64_t num_duplicates = 0;  // pairs left out: both sides had come before, together
  std::int64_t num_too_long = 0;    // pairs left out
  std::int64_t num_not_utf8 = 0;    // pairs, kept as they are
  std::int64_t training_bytes = 0;  // text that the tokenizer was trained on; 0 if it was not
};

// As prepare(), for pairs: whole or absent, read twice, the same each time.
//
// One tokenizer serves both sides and is trained on both.  A pair is for validation if a random number of
// (seed, source sentence) is below the fraction: all translations of a sentence go to the same side, and no
// source is in both. Duplicates are found by a 64-bit hash: in 100 million pairs, the chance that a single
// one is taken for another's duplicate is 1 in 4000.  Memory: 16 to 32 bytes a pair.
PairPrepareSummary prepare_pairs(const PairPrepareOptions& options,
                                 const std::function<void(const PrepareProgress&)>& on_progress);

}  // namespace trireme
