#include "parallel/sharded_layout.h"

#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "tests/parallel/collective_values.h"
#include "tests/support/ranks.h"

namespace trireme {
namespace {

TEST(ShardedLayoutTest, CutsBucketsFromTheEnd) {
  const ShardedLayout layout(1000, 2, 300);
  EXPECT_EQ(layout.padded_elements(), 1024);
  EXPECT_EQ(layout.elements_per_rank(), 512);
  EXPECT_EQ(layout.num_buckets(), 3);
  EXPECT_EQ(layout.bucket(0), (FlatRange{0, 256}));
  EXPECT_EQ(layout.bucket(1), (FlatRange{256, 640}));
  EXPECT_EQ(layout.bucket(2), (FlatRange{640, 1024}));
  EXPECT_EQ(layout.part(2, 1), (FlatRange{832, 1024}));
  EXPECT_EQ(layout.part_in_shard(2), (FlatRange{320, 512}));
  EXPECT_EQ(layout.parts_of_others(2, 1), (std::array{FlatRange{640, 832}, FlatRange{1024, 1024}}));
  EXPECT_EQ(layout.buckets_of({0, 256}), (FlatRange{0, 1}));
  EXPECT_EQ(layout.buckets_of({255, 257}), (FlatRange{0, 2}));
  EXPECT_EQ(layout.buckets_of({0, 1000}), (FlatRange{0, 3}));
}

// Every element belongs to one rank, aligned, and to one place in its shard.
TEST(ShardedLayoutTest, PartsTileTheBuffer) {
  for (const std::int64_t elements : {1, 63, 64, 65, 1000, 4096, 100003}) {
    for (const int ranks : {1, 2, 3, 4, 8}) {
      for (const std::int64_t bucket_elements : {1, 100, 5000, 1000000}) {
        const ShardedLayout layout(elements, ranks, bucket_elements);
        ASSERT_GE(layout.padded_elements(), elements);
        ASSERT_LT(layout.padded_elements(), elements + ranks * ShardedLayout::kAlignmentElements);
        std::int64_t end = 0;
        std::int64_t shard_end = 0;
        for (int bucket = 0; bucket < layout.num_buckets(); ++bucket) {
          ASSERT_EQ(layout.bucket(bucket).begin, end);
          ASSERT_EQ(layout.part_in_shard(bucket).begin, shard_end);
          for (int rank = 0; rank < ranks; ++rank) {
            const FlatRange part = layout.part(bucket, rank);
            ASSERT_EQ(part.begin, end);
            ASSERT_EQ(part.begin % ShardedLayout::kAlignmentElements, 0);
            ASSERT_GT(part.size(), 0);
            ASSERT_EQ(part.size(), layout.part_in_shard(bucket).size());
            ASSERT_EQ(layout.buckets_of(part), (FlatRange{bucket, bucket + 1}));
            end = part.end;
          }
          shard_end = layout.part_in_shard(bucket).end;
        }
        ASSERT_EQ(end, layout.padded_elements());
        ASSERT_EQ(shard_end, layout.elements_per_rank());
      }
    }
  }
}

// A step of ZeRO-1 as its communication goes: gradients are scattered by bucket into shards, each rank
// changes its own, and all gather the result; it is what an all_reduce and the change of everything would
// have given.
TEST(CommunicatorShardedLayoutTest, ScatterAndGatherByBucketIsAnAllReduce) {
  Communicator& world = test_process().world();
  const ShardedLayout layout(10007, world.size(), 2000);
  std::vector<float> gradients = values_of<float>(world.rank(), layout.padded_elements());
  std::vector<float> expected = gradients;
  std::vector<float> shard(static_cast<std::size_t>(layout.elements_per_rank()));
  std::vector<float> values(gradients.size());
  for (int bucket = layout.num_buckets() - 1; bucket >= 0; --bucket) {
    const auto [begin, end] = layout.bucket(bucket);
    const auto [shard_begin, shard_end] = layout.part_in_shard(bucket);
    world.reduce_scatter(tensor(shard).slice(0, shard_begin, shard_end),
                         tensor(gradients).slice(0, begin, end), ReduceOp::kSum, {});
  }
  world.barrier();
  for (float& value : shard) value *= -0.5F;
  for (int bucket = 0; bucket < layout.num_buckets(); ++bucket) {
    const auto [begin, end] = layout.bucket(bucket);
    const auto [shard_begin, shard_end] = layout.part_in_shard(bucket);
    world.all_gather(tensor(values).slice(0, begin, end), tensor(shard).slice(0, shard_begin, shard_end), {});
  }
  world.barrier();
  world.wait(world.all_reduce(tensor(expected), ReduceOp::kSum, {}), {});
  for (float& value : expected) value *= -0.5F;
  EXPECT_TRUE(same_bits(values, expected));
}

}  // namespace
}  // namespace trireme
