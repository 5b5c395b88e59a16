// Which window of the data each sample is.
#pragma once

#include <cstdint>

namespace trireme {

// The split is cut into windows of T tokens, side by side; the inputs of a window are its tokens, its targets
// are the same moved on by one, so that the last target is the first token of the next window.
//
// Samples are numbered from 0 on, without end.  In each epoch of num_windows() samples every window comes
// exactly once, in an order shuffled over the whole split.  The order is a pure function of (seed, sample
// number): it knows no rank, needs no memory, and sample 10^9 costs what sample 0 costs.
class Sampler {
 public:
  // The number of windows in so many tokens: 0 if they are too few.
  static std::int64_t windows_in(std::int64_t num_tokens, std::int64_t tokens_per_sequence);

  // REQUIRES: windows_in(...) > 0.
  Sampler(std::int64_t num_tokens, std::int64_t tokens_per_sequence, std::uint64_t seed);

  // The first token of the sample's window.
  std::int64_t position(std::int64_t sample) const { return window(sample) * tokens_per_sequence_; }
  // REQUIRES: sample >= 0.
  std::int64_t window(std::int64_t sample) const;

  std::int64_t num_windows() const { return num_windows_; }

 private:
  std::int64_t num_windows_;
  std::int64_t tokens_per_sequence_;
  std::uint64_t seed_;
  int half_bits_;  // the windows' numbers fit into twice as many
};

}  // namespace trireme
