#include "parallel/process.h"

#include <vector>

#include <gtest/gtest.h>

#include "parallel/mesh.h"
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

TEST(ProcessTest, MeshOfAllRanksIsTheWorld) {
  EXPECT_EQ(&Mesh({}, test_process()).data(), &test_process().world());
  EXPECT_EQ(&Mesh({.data = test_process().num_ranks()}, test_process()).data(), &test_process().world());
}

TEST(MeshTest, SaysWhatWouldFit) {
  EXPECT_FALSE(Mesh::why_not({.data = 0}, 3));
  EXPECT_FALSE(Mesh::why_not({.data = 3}, 3));
  EXPECT_EQ(Mesh::why_not({.data = 4}, 3),
            "the data axis has 4 ranks and the job has 3; data = 3 fits, and so does 0 for all ranks");
  EXPECT_EQ(Mesh::why_not({.data = 2}, 3),
            "the data axis has 2 ranks and the job has 3; data = 3 fits, and so does 0 for all ranks");
  EXPECT_TRUE(Mesh::why_not({.data = -1}, 1));
}

}  // namespace
}  // namespace trireme
