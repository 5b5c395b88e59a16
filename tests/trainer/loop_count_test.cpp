#include "trainer/loop_count.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cross_entropy.h"
#include "parallel/self_communicator.h"
#include "trainer/model/transformer.h"

namespace trireme {
namespace {

// Untrained, p is about sigmoid(1) = 0.73 in each loop: two of them pass the threshold of 0.99, and one that
// of 0.5.
TEST(LoopCount, IsOfThePositionsThatCount) {
  for (const auto& [threshold, expected] : {std::pair(0.99F, 2.0), std::pair(0.5F, 1.0)}) {
    Transformer model({.layers = 1,
                       .width = 8,
                       .heads = 2,
                       .kv_heads = 2,
                       .head_width = 4,
                       .feed_forward = 8,
                       .loops = 4,
                       .halting = true,
                       .halting_threshold = threshold,
                       .context = 6,
                       .vocabulary = 11,
                       .init_stddev = 0.01F},
                      ParameterMemory::kValues);
    model.parameters().initialize(1);
    model.allocate({.batch = 1, .sequence = 5});
    std::vector<std::int32_t> tokens = {1, 2, 3, 4, 5};
    std::vector<std::int32_t> targets = {2, kIgnoredTarget, 4, 5, kIgnoredTarget};
    float loss = 0.0F;
    LoopCount count;
    model.forward_loss({&loss, DType::kFloat32, {1}}, {tokens.data(), DType::kInt32, {1, 5}},
                       {targets.data(), DType::kInt32, {1, 5}},
                       {.batch = 1, .sequence = 5, .loop_count = &count});
    EXPECT_EQ(count.positions, 3.0);
    SelfCommunicator alone;
    EXPECT_EQ(mean_loops(count, alone), expected);
  }
}

TEST(LoopCount, IsNoneWithoutHalting) {
  SelfCommunicator alone;
  EXPECT_EQ(mean_loops({}, alone), std::nullopt);
}

}  // namespace
}  // namespace trireme
