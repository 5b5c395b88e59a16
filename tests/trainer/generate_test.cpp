#include "trainer/generate.h"

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace trireme {
namespace {

// Probabilities 0.5, 0.25, 0.15, 0.1 of tokens 2, 0, 3, 1.
const std::vector<float> kLogits = {std::log(0.25F), std::log(0.10F), std::log(0.50F), std::log(0.15F)};

std::map<std::int32_t, double> frequencies(const SamplingOptions& options, int draws = 20000) {
  std::map<std::int32_t, double> counts;
  for (int i = 0; i < draws; ++i)
    counts[sample(kLogits, options, static_cast<std::uint64_t>(i))] += 1.0 / draws;
  return counts;
}

TEST(Sample, FollowsTheProbabilities) {
  auto seen = frequencies({.seed = 1});
  EXPECT_NEAR(seen[2], 0.50, 0.02);
  EXPECT_NEAR(seen[0], 0.25, 0.02);
  EXPECT_NEAR(seen[3], 0.15, 0.02);
  EXPECT_NEAR(seen[1], 0.10, 0.02);
}

TEST(Sample, TemperatureSharpens) {
  auto seen = frequencies({.temperature = 0.5, .seed = 1});
  const double sum = 0.25 + 0.0625 + 0.0225 + 0.01;
  EXPECT_NEAR(seen[2], 0.25 / sum, 0.02);
  EXPECT_NEAR(seen[1], 0.01 / sum, 0.02);
  EXPECT_EQ(frequencies({.temperature = 0.0}, 10).size(), 1U);
  EXPECT_EQ(sample(kLogits, {.temperature = 0.0}, 0), 2);
}

TEST(Sample, TopKKeepsTheLikeliest) {
  auto seen = frequencies({.top_k = 2, .seed = 2});
  EXPECT_EQ(seen.size(), 2U);
  EXPECT_NEAR(seen[2], 2.0 / 3, 0.02);
  EXPECT_NEAR(seen[0], 1.0 / 3, 0.02);
}

TEST(Sample, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(frequencies({.top_p = 0.5}).size(), 1U);
  auto seen = frequencies({.top_p = 0.6, .seed = 3});
  EXPECT_EQ(seen.size(), 2U);
  EXPECT_NEAR(seen[2], 2.0 / 3, 0.02);
  EXPECT_EQ(frequencies({.top_p = 1e-9}).size(), 1U);
}

TEST(Sample, SeedDecides) {
  std::vector<std::int32_t> one, same, other;
  for (std::uint64_t i = 0; i < 50; ++i) {
    one.push_back(sample(kLogits, {.seed = 1}, i));
    same.push_back(sample(kLogits, {.seed = 1}, i));
    other.push_back(sample(kLogits, {.seed = 2}, i));
  }
  EXPECT_EQ(one, same);
  EXPECT_NE(one, other);
}

TEST(Generate, GoesOnBeyondTheContext) {
  Transformer model({.layers = 2,
                     .width = 8,
                     .heads = 2,
                     .kv_heads = 2,
                     .head_width = 4,
                     .feed_forward = 16,
                     .context = 10,
                     .vocabulary = 11,
                     .init_stddev = 0.5F});
  model.parameters().initialize(1);
  model.allocate({.batch = 1, .sequence = 10});
  const auto run = [&](std::vector<std::int32_t> prompt, std::int64_t max_tokens) {
    std::vector<std::int32_t> tokens;
    generate(model, std::move(prompt), max_tokens, {.seed = 4}, [&](std::int32_t token) {
      tokens.push_back(token);
      return true;
    });
    return tokens;
  };
  const auto tokens = run({1, 2, 3}, 40);
  ASSERT_EQ(tokens.size(), 40U);
  for (const std::int32_t token : tokens) EXPECT_TRUE(0 <= token && token < 11);
  EXPECT_GT(std::set<std::int32_t>(tokens.begin(), tokens.end()).size(), 2U);
  EXPECT_EQ(run({1, 2, 3}, 40), tokens);
  // A prompt longer than the context keeps its end.
  EXPECT_EQ(run(std::vector<std::int32_t>(25, 3), 5).size(), 5U);
}

TEST(Generate, StopsWhenToldTo) {
  Transformer model({.layers = 1,
                     .width = 8,
                     .heads = 2,
                     .kv_heads = 2,
                     .head_width = 4,
                     .feed_forward = 16,
                     .context = 8,
                     .vocabulary = 5,
                     .init_stddev = 0.5F});
  model.parameters().initialize(1);
  model.allocate({.batch = 1, .sequence = 8});
  int emitted = 0;
  generate(model, {1}, 100, {}, [&](std::int32_t) { return ++emitted < 7; });
  EXPECT_EQ(emitted, 7);
}

}  // namespace
}  // namespace trireme
