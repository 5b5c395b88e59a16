#include "data/masking.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <glog/logging.h>

#include "data/random.h"

namespace trireme {
namespace {

// What is drawn at each token of a sample.
enum Draw : std::uint64_t { kChoice, kFate, kReplacement, kNumDraws };

constexpr std::uint64_t place(std::int64_t position, Draw draw) {
  return static_cast<std::uint64_t>(position) * kNumDraws + draw;
}

constexpr double kMasked = 0.8;
constexpr double kReplaced = 0.1;

// Ascending, the positions of a sample at which the lowest numbers are drawn.
std::vector<std::int64_t> choose(std::int64_t count, std::int64_t length, std::uint64_t key) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> drawn;
  for (std::int64_t t = 0; t < length; ++t) drawn.emplace_back(random_at(key, place(t, kChoice)), t);
  std::nth_element(drawn.begin(), drawn.begin() + count - 1, drawn.end());
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < count; ++i) positions.push_back(drawn[static_cast<std::size_t>(i)].second);
  std::sort(positions.begin(), positions.end());
  return positions;
}

// What the model sees in the place of a token that was chosen.
std::int32_t replaced(std::int32_t token, std::int64_t position, std::uint64_t key, const Masking& masking) {
  const double fate = uniform_at(key, place(position, kFate));
  if (fate < kMasked) return masking.mask_token;
  if (fate >= kMasked + kReplaced) return token;
  return static_cast<std::int32_t>(uniform_at(key, place(position, kReplacement)) *
                                   static_cast<double>(masking.vocabulary));
}

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
  for (std::int64_t row = 0; row < sequences; ++row) {
    const std::uint64_t key = random_at(masking.seed, static_cast<std::uint64_t>(first_sample + row));
    for (const std::int64_t position : choose(chosen, tokens_per_sequence, key)) {
      const std::int64_t at = row * tokens_per_sequence + position;
      std::int32_t& token = batch.inputs[static_cast<std::size_t>(at)];
      batch.rows.push_back(static_cast<std::int32_t>(at));
      batch.targets.push_back(token);
      token = replaced(token, position, key, masking);
    }
  }
}

}  // namespace trireme
