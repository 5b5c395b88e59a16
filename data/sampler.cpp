#include "data/sampler.h"

#include <algorithm>
#include <bit>

#include <glog/logging.h>

#include "data/random.h"

namespace trireme {
namespace {

constexpr int kRounds = 6;

// A bijection of the numbers of 2 * half_bits bits: a Feistel network, keyed by `key`.
std::uint64_t feistel(std::uint64_t x, int half_bits, std::uint64_t key) {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  std::uint64_t left = x >> half_bits;
  std::uint64_t right = x & mask;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t turned =
        left ^ (mixed(key + mixed(right) + static_cast<std::uint64_t>(round)) & mask);
    left = right;
    right = turned;
  }
  return left << half_bits | right;
}

}  // namespace

std::int64_t Sampler::windows_in(std::int64_t num_tokens, std::int64_t tokens_per_sequence) {
  return num_tokens <= 0 ? 0 : (num_tokens - 1) / tokens_per_sequence;
}

Sampler::Sampler(std::int64_t num_tokens, std::int64_t tokens_per_sequence, std::uint64_t seed)
    : num_windows_(windows_in(num_tokens, tokens_per_sequence)),
      tokens_per_sequence_(tokens_per_sequence),
      seed_(seed) {
  CHECK_GT(num_windows_, 0);
  const int bits = std::bit_width(static_cast<std::uint64_t>(num_windows_ - 1));
  half_bits_ = std::max(1, (bits + 1) / 2);
}

std::int64_t Sampler::window(std::int64_t sample) const {
  DCHECK_GE(sample, 0);
  const std::int64_t epoch = sample / num_windows_;
  const std::uint64_t key = random_at(seed_, static_cast<std::uint64_t>(epoch));
  // The network permutes a power of four, at most four times the windows (eight for one or two of them).
  // Walking on from a number beyond the windows stays on its cycle and so ends at a window, and at a
  // different one for each start (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
  auto number = static_cast<std::uint64_t>(sample % num_windows_);
  do {
    number = feistel(number, half_bits_, key);
  } while (number >= static_cast<std::uint64_t>(num_windows_));
  return static_cast<std::int64_t>(number);
}

}  // namespace trireme
