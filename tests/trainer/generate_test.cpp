#include "trainer/generate.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace trireme {
namespace {

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
