#include "data/masking.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <glog/logging.h>

#include "data/random.h"

namespace trireme {
namespace {

// What is drawn at each token of a sample.
enum Draw : std::uint64_t { kChoice, kFate, kReplacement, kNumDraws };

constexpr double kMasked = 0.8;
constexpr double kReplaced = 0.1;

}  // namespace

std::int32_t mask_token_of(const Tokenizer& tokenizer) {
  return tokenizer.mask_token().value_or(tokenizer.vocab_size());
}

std::int64_t vocabulary_with_mask(const Tokenizer& tokenizer) {
  return std::max(tokenizer.vocab_size(), mask_token_of(tokenizer) + 1);
}

std::int64_t num_masked(std::int64_t tokens_per_sequence, double probability) {
  const auto share = std::llround(probability * static_cast<double>(tokens_per_sequence));
  return std::clamp<std::int64_t>(share, 1, tokens_per_sequence);
}

void mask_tokens(std::span<const std::int32_t> tokens, std::int64_t tokens_per_sequence,
                 std::int64_t first_sample, const Masking& masking, MaskedBatch& batch) {
  CHECK(tokens.size() % static_cast<std::size_t>(tokens_per_sequence) == 0);
  const std::int64_t sequences = static_cast<std::int64_t>(tokens.size()) / tokens_per_sequence;
  const std::int64_t chosen = num_masked(tokens_per_sequence, masking.probability);
  batch.inputs.assign(tokens.begin(), tokens.end());
  batch.rows.clear();
  batch.targets.clear();
  std::vector<std::int64_t> order(static_cast<std::size_t>(tokens_per_sequence));
  std::vector<std::uint64_t> ranks(order.size());
  for (std::int64_t row = 0; row < sequences; ++row) {
    const std::uint64_t key = random_at(masking.seed, static_cast<std::uint64_t>(first_sample + row));
    const auto place = [](std::int64_t position, Draw draw) {
      return static_cast<std::uint64_t>(position) * kNumDraws + draw;
    };
    for (std::int64_t t = 0; t < tokens_per_sequence; ++t)
      ranks[static_cast<std::size_t>(t)] = random_at(key, place(t, kChoice));
    std::iota(order.begin(), order.end(), 0);
    std::nth_element(order.begin(), order.begin() + chosen - 1, order.end(),
                     [&](std::int64_t a, std::int64_t b) {
                       return ranks[static_cast<std::size_t>(a)] < ranks[static_cast<std::size_t>(b)];
                     });
    std::sort(order.begin(), order.begin() + chosen);
    for (std::int64_t i = 0; i < chosen; ++i) {
      const std::int64_t position = order[static_cast<std::size_t>(i)];
      const std::int64_t at = row * tokens_per_sequence + position;
      std::int32_t& token = batch.inputs[static_cast<std::size_t>(at)];
      batch.rows.push_back(static_cast<std::int32_t>(at));
      batch.targets.push_back(token);
      const double fate = uniform_at(key, place(position, kFate));
      if (fate < kMasked) {
        token = masking.mask_token;
      } else if (fate < kMasked + kReplaced) {
        token = static_cast<std::int32_t>(uniform_at(key, place(position, kReplacement)) *
                                          static_cast<double>(masking.vocabulary));
      }
    }
  }
}

}  // namespace trireme
