// What is masked: how much, by what, and that it depends on the seed and the sample alone.

#include "data/masking.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "data/tokenizer/byte.h"

namespace trireme {
namespace {

constexpr std::int64_t kLength = 128;
constexpr std::int32_t kMask = 1000;
constexpr Masking kMasking{.probability = 0.15, .mask_token = kMask, .vocabulary = 1000, .seed = 3};

std::vector<std::int32_t> some_tokens(std::int64_t count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * i % 991);
  return tokens;
}

MaskedBatch masked(const std::vector<std::int32_t>& tokens, std::int64_t first_sample,
                   const Masking& masking = kMasking, std::int64_t length = kLength) {
  MaskedBatch batch;
  mask_tokens(tokens, length, first_sample, masking, batch);
  return batch;
}

// Within five standard deviations of a binomial distribution.
void expect_share(std::int64_t count, std::int64_t of, double share) {
  const auto n = static_cast<double>(of);
  EXPECT_NEAR(static_cast<double>(count), n * share, 5.0 * std::sqrt(n * share * (1.0 - share)));
}

TEST(Masking, ChoosesTheSameNumberOfEverySequence) {
  EXPECT_EQ(num_masked(512, 0.15), 77);
  EXPECT_EQ(num_masked(3, 0.15), 1);
  EXPECT_EQ(num_masked(5, 0.0), 1);
  EXPECT_EQ(num_masked(5, 1.0), 5);
  for (const std::int64_t length : {1, 7, 128}) {
    const auto tokens = some_tokens(5 * length);
    const MaskedBatch batch = masked(tokens, 0, kMasking, length);
    const auto chosen = static_cast<std::size_t>(num_masked(length, kMasking.probability));
    ASSERT_EQ(batch.rows.size(), 5 * chosen);
    ASSERT_EQ(batch.targets.size(), 5 * chosen);
    ASSERT_EQ(batch.inputs.size(), tokens.size());
    EXPECT_TRUE(std::is_sorted(batch.rows.begin(), batch.rows.end(), std::less_equal<>())) << "one twice";
    for (std::size_t i = 0; i < batch.rows.size(); ++i) {
      EXPECT_EQ(batch.rows[i] / length, static_cast<std::int64_t>(i / chosen));
      EXPECT_EQ(batch.targets[i], tokens[static_cast<std::size_t>(batch.rows[i])]);
    }
  }
}

TEST(Masking, MasksReplacesAndKeepsAsBertDoes) {
  constexpr std::int64_t kSequences = 2000;
  const auto tokens = some_tokens(kSequences * kLength);
  const MaskedBatch batch = masked(tokens, 0);
  std::int64_t num_masks = 0, num_kept = 0;
  std::vector<std::int64_t> chosen_at(kLength), replaced_by(10);
  std::vector<std::int32_t> unmasked = batch.inputs;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const auto row = static_cast<std::size_t>(batch.rows[i]);
    const std::int32_t input = batch.inputs[row];
    ++chosen_at[row % kLength];
    unmasked[row] = batch.targets[i];
    if (input == kMask) {
      ++num_masks;
    } else if (input == batch.targets[i]) {
      ++num_kept;
    } else {
      ASSERT_GE(input, 0);
      ASSERT_LT(input, kMasking.vocabulary);
      ++replaced_by[static_cast<std::size_t>(input / 100)];
    }
  }
  EXPECT_EQ(unmasked, tokens) << "a token that was not chosen has changed";
  const auto chosen = static_cast<std::int64_t>(batch.rows.size());
  expect_share(num_masks, chosen, 0.8);
  expect_share(num_kept, chosen, 0.1 + 0.1 / 1000);
  const std::int64_t replaced = chosen - num_masks - num_kept;
  for (const std::int64_t count : replaced_by) expect_share(count, replaced, 0.1);
  for (const std::int64_t count : chosen_at) expect_share(count, chosen, 1.0 / kLength);
}

TEST(Masking, DependsOnSeedAndSampleAlone) {
  const auto tokens = some_tokens(6 * kLength);
  const MaskedBatch whole = masked(tokens, 40);
  std::vector<std::int32_t> inputs, rows;
  for (const auto& [begin, end] : {std::pair{0, 1}, std::pair{1, 4}, std::pair{4, 6}}) {
    const MaskedBatch part =
        masked({tokens.begin() + begin * kLength, tokens.begin() + end * kLength}, 40 + begin);
    inputs.insert(inputs.end(), part.inputs.begin(), part.inputs.end());
    for (const std::int32_t row : part.rows) rows.push_back(row + static_cast<std::int32_t>(begin * kLength));
  }
  EXPECT_EQ(inputs, whole.inputs);
  EXPECT_EQ(rows, whole.rows);

  Masking other = kMasking;
  other.seed = 4;
  EXPECT_NE(masked(tokens, 40, other).rows, whole.rows);
  EXPECT_NE(masked(tokens, 41).rows, whole.rows) << "another epoch masks anew";
}

TEST(Masking, MaskStandsBehindTheTokensOfATokenizerWithoutOne) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(mask_token_of(tokenizer), tokenizer.vocab_size());
  EXPECT_EQ(vocabulary_with_mask(tokenizer), tokenizer.vocab_size() + 1);
}

}  // namespace
}  // namespace trireme
