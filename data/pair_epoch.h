// Which pairs go into which batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/pair_dataset.h"

namespace trireme {

// Tokens that a pair takes on its longer side, the end counted: what a batch of pairs is measured by.
inline std::int64_t longer_side(const PairLengths& lengths) {
  return 1 + std::int64_t{lengths.source > lengths.target ? lengths.source : lengths.target};
}

// One pass over all pairs, in batches of pairs of like lengths.  Every pair comes exactly once.  A batch of B
// pairs, padded to the longest of them, has no more than `batch_tokens` tokens on either side: B * max of
// longer_side() <= batch_tokens.
//
// Pairs are sorted into cells: by the longer side, in steps of a 16th to a 32nd of it, then by the difference
// of the two sides, up and down in turns so that neighbours are alike throughout.  Inside a cell the order is
// shuffled; the line of all cells is cut into batches from the long end, each as large as fits; a last one of
// less than half the pairs of the one before shares with it evenly; then the batches are shuffled.  All of it
// is a pure function of the arguments: it knows no rank.  Memory: 4 bytes a pair, 8 while it is made.
//
// Where pairs are many for their lengths, their company changes with each epoch; pairs of rare lengths meet
// again.
class PairEpoch {
 public:
  // REQUIRES: no pair's longer_side() is above batch_tokens; fewer than 2^32 pairs.
  PairEpoch(std::span<const PairLengths> lengths, std::int64_t batch_tokens, std::uint64_t seed,
            std::int64_t epoch);

  std::int64_t num_batches() const { return static_cast<std::int64_t>(begins_.size()) - 1; }
  // The numbers of a batch's pairs, the longest first, roughly.
  std::span<const std::uint32_t> pairs(std::int64_t batch) const;
  // How many pairs come before it.
  std::int64_t begin(std::int64_t batch) const { return begins_[static_cast<std::size_t>(batch)]; }
  // The batch before which so many pairs come: where a run goes on.  None if that is inside a batch.
  std::optional<std::int64_t> batch_at(std::int64_t begin) const;

 private:
  std::vector<std::uint32_t> order_;  // of all pairs, batch after batch
  std::vector<std::int64_t> begins_;  // of each batch in order_, and the end
};

}  // namespace trireme
