#include "parallel/process.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace trireme {
namespace {

TEST(ProcessTest, AllRanksOfTheTestShareOneNode) {
  Process& process = test_process();
  EXPECT_EQ(process.local_rank(), process.rank());
  EXPECT_EQ(process.num_local_ranks(), process.num_ranks());
}

TEST(ProcessTest, RanksAreDistinct) {
  Communicator& world = test_process().world();
  std::int32_t rank = test_process().rank();
  std::vector<std::int32_t> ranks(static_cast<std::size_t>(world.size()));
  world.wait(
      world.all_gather({ranks.data(), DType::kInt32, {world.size(), 1}}, {&rank, DType::kInt32, {1}}, {}),
      {});
  for (int r = 0; r < world.size(); ++r) EXPECT_EQ(ranks[static_cast<std::size_t>(r)], r);
}

}  // namespace
}  // namespace trireme
