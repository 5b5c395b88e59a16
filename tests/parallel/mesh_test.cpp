#include "parallel/mesh.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace trireme {
namespace {

std::string reason(const MeshShape& shape, int num_ranks) {
  return Mesh::why_not(shape, num_ranks).value_or("");
}

TEST(MeshLayoutTest, AnyProductFits) {
  EXPECT_EQ(reason({}, 1), "");
  EXPECT_EQ(reason({}, 7), "");
  EXPECT_EQ(reason({.data = 3}, 3), "");
  EXPECT_EQ(reason({.pipeline = 2, .data = 3, .tensor = 4}, 24), "");
  EXPECT_EQ(reason({.pipeline = 2, .data = 0, .tensor = 4}, 24), "");
  EXPECT_EQ(reason({.pipeline = 0, .data = 2, .tensor = 1}, 6), "");
  EXPECT_EQ(reason({.pipeline = 3, .data = 1, .tensor = 0}, 12), "");
}

TEST(MeshLayoutTest, SaysWhatWouldFit) {
  EXPECT_EQ(reason({.data = 4}, 3),
            "data 4 needs 4 ranks and the job has 3; data = 3 or 0 fits, or start 4 ranks");
  EXPECT_EQ(reason({.data = 1}, 3),
            "data 1 needs 1 rank and the job has 3; data = 3 or 0 fits, or start 1 rank");
  EXPECT_EQ(reason({.pipeline = 2, .data = 4, .tensor = 2}, 8),
            "pipeline 2 x data 4 x tensor 2 needs 16 ranks and the job has 8; data = 2 or 0 fits, or start "
            "16 ranks");
  EXPECT_EQ(reason({.pipeline = 2, .data = 1, .tensor = 5}, 8),
            "pipeline 2 x tensor 5 needs 10 ranks and the job has 8; tensor = 4 fits, or start 10 ranks");
  EXPECT_EQ(
      reason({.tensor = 3}, 8),
      "tensor 3 needs a multiple of 3 ranks and the job has 8; tensor = 2 or 4 fits, or start 6 or 9 ranks");
  EXPECT_EQ(reason({.tensor = 16}, 8),
            "tensor 16 needs a multiple of 16 ranks and the job has 8; tensor = 8 fits, or start 16 ranks");
  EXPECT_EQ(reason({.pipeline = 3, .data = 1, .tensor = 5}, 7),
            "pipeline 3 x tensor 5 needs 15 ranks and the job has 7; start 15 ranks");
  EXPECT_EQ(reason({.tensor = -2}, 4),
            "tensor is -2; 1 to 4 may fit, and 0 stands for all ranks that remain");
  EXPECT_EQ(reason({.tensor = 0}, 4),
            "several axes are 0, which stands for all ranks that remain; only one can have them");
  EXPECT_NE(reason({.pipeline = 1 << 30, .data = 1 << 30, .tensor = 1 << 30}, 8), "");  // no overflow
}

TEST(MeshLayoutTest, TensorIsInnermostAndPipelineOutermost) {
  const MeshLayout layout({.pipeline = 2, .data = 0, .tensor = 4}, 24);
  EXPECT_EQ(layout.size(Axis::kData), 3);
  EXPECT_EQ(layout.rank_of({0, 0, 1}), 1);
  EXPECT_EQ(layout.rank_of({0, 1, 0}), 4);
  EXPECT_EQ(layout.rank_of({1, 0, 0}), 12);
  for (int rank = 0; rank < 24; ++rank) EXPECT_EQ(layout.rank_of(layout.place_of(rank)), rank);
}

TEST(MeshLayoutTest, GroupsAreThoseThatDifferInTheirAxesAlone) {
  const MeshLayout layout({.pipeline = 2, .data = 3, .tensor = 4}, 24);
  const std::vector<std::vector<Axis>> kGroups{
      {Axis::kPipeline}, {Axis::kData}, {Axis::kTensor}, {Axis::kPipeline, Axis::kTensor}, {}};
  for (const auto& axes : kGroups) {
    for (int a = 0; a < 24; ++a) {
      for (int b = 0; b < 24; ++b) {
        bool together = true;
        for (const Axis axis : kAxes) {
          const auto i = static_cast<std::size_t>(axis);
          const bool spans = std::find(axes.begin(), axes.end(), axis) != axes.end();
          together &= spans || layout.place_of(a)[i] == layout.place_of(b)[i];
        }
        EXPECT_EQ(layout.color_of(a, axes) == layout.color_of(b, axes), together) << a << " " << b;
      }
    }
  }
}

// The members of a group, by their rank in the job.
std::vector<std::int32_t> members(Communicator& group) {
  std::int32_t mine = test_process().rank();
  std::vector<std::int32_t> all(static_cast<std::size_t>(group.size()));
  group.wait(group.all_gather({all.data(), DType::kInt32, {group.size()}}, {&mine, DType::kInt32, {1}}, {}),
             {});
  return all;
}

// Under mpirun, every shape of its ranks.
TEST(MeshTest, HandsOutACommunicatorPerAxis) {
  const int ranks = test_process().num_ranks();
  for (int pipeline = 1; pipeline <= ranks; ++pipeline) {
    for (int tensor = 1; tensor <= ranks; ++tensor) {
      const MeshShape shape{.pipeline = pipeline, .data = 0, .tensor = tensor};
      if (Mesh::why_not(shape, ranks)) continue;
      const Mesh mesh(shape, test_process().world());
      const int data = ranks / pipeline / tensor;
      const int p = mesh.coordinate(Axis::kPipeline);
      const int d = mesh.coordinate(Axis::kData);
      const int t = mesh.coordinate(Axis::kTensor);
      EXPECT_EQ(test_process().rank(), (p * data + d) * tensor + t);
      EXPECT_EQ(mesh.pipeline().rank(), p);
      EXPECT_EQ(mesh.data().rank(), d);
      EXPECT_EQ(mesh.tensor().rank(), t);
      EXPECT_EQ(mesh.data().name(), "dp");

      std::vector<std::int32_t> expected;
      for (int i = 0; i < pipeline; ++i) expected.push_back((i * data + d) * tensor + t);
      EXPECT_EQ(members(mesh.pipeline()), expected);
      expected.clear();
      for (int i = 0; i < data; ++i) expected.push_back((p * data + i) * tensor + t);
      EXPECT_EQ(members(mesh.data()), expected);
      expected.clear();
      for (int i = 0; i < tensor; ++i) expected.push_back((p * data + d) * tensor + i);
      EXPECT_EQ(members(mesh.tensor()), expected);
      expected.clear();
      for (int i = 0; i < pipeline; ++i) {
        for (int j = 0; j < tensor; ++j) expected.push_back((i * data + d) * tensor + j);
      }
      EXPECT_EQ(members(mesh.model()), expected);
    }
  }
}

}  // namespace
}  // namespace trireme
