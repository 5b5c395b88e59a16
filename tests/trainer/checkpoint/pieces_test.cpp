#include "trainer/checkpoint/pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/ranks.h"
#include "trainer/checkpoint/slices.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const Initializer kNone = Initializer::constant(0.0F);

std::vector<CheckpointEntry> whole_layout() {
  ParameterBuffer whole;
  whole.add("table", Shape{10, 3}, kNone, true);  // and 2 elements to the next multiple of 16
  whole.add("mix", Shape{3, 8}, kNone, true);     // and 8
  whole.add("norm", Shape{5}, kNone, false);
  whole.allocate(ParameterMemory::kNone);
  return layout_of(whole);
}

TEST(PiecesTest, OfAWholeModelAreItsParameters) {
  const CheckpointPieces pieces = pieces_of(whole_layout());
  EXPECT_THAT(pieces.owned, ElementsAre(Piece{0, 0, 30}, Piece{32, 32, 24}, Piece{64, 64, 5}));
  EXPECT_THAT(pieces.copies, IsEmpty());
}

TEST(PiecesTest, OfAShareHaveTheirPlaceInTheWholeAndAscendInIt) {
  ParameterBuffer own;
  own.add("norm", Shape{5}, kNone, false);  // a stage may have its parameters in another order
  own.add("mix", ParameterPart::columns_of({3, 8}, {2, 6}), kNone, true);
  own.add("table", ParameterPart::rows_of({10, 3}, {{1, 3}, {7, 8}}), kNone, true);
  const CheckpointPieces pieces = pieces_of(own, whole_layout());
  EXPECT_THAT(pieces.owned, ElementsAre(Piece{3, 32, 6}, Piece{21, 38, 3}, Piece{34, 16, 4}, Piece{42, 20, 4},
                                        Piece{50, 24, 4}, Piece{64, 0, 5}));
  EXPECT_THAT(pieces.copies, IsEmpty());
}

// What rank 0 of a group of replicas owns, the others have copies of.
TEST(PiecesOverRanksTest, OneRankOwnsReplicas) {
  Communicator& world = test_process().world();
  ParameterBuffer own;
  Parameter& table = own.add("table", ParameterPart::rows_of({10, 3}, {{1, 3}, {5, 7}, {8, 9}}), kNone, true);
  table.replicas = {{.group = &world, .elements = {4, 8}, .is_partial = true},
                    {.group = &world, .elements = {5, 6}, .is_partial = true},
                    {.group = &world, .elements = {7, 13}, .is_partial = false}};
  const CheckpointPieces pieces = pieces_of(own, whole_layout());
  if (world.rank() == 0) {
    EXPECT_THAT(pieces.owned, ElementsAre(Piece{3, 0, 6}, Piece{15, 6, 6}, Piece{24, 12, 3}));
    EXPECT_THAT(pieces.copies, IsEmpty());
  } else {
    EXPECT_THAT(pieces.owned, ElementsAre(Piece{3, 0, 4}, Piece{25, 13, 2}));
    EXPECT_THAT(pieces.copies,
                ElementsAre(Piece{7, 4, 2}, Piece{15, 6, 2}, Piece{17, 8, 4}, Piece{24, 12, 1}));
  }
}

// All together own every element once, and each rank has all.
TEST(PiecesOverRanksTest, DataParallelRanksShareTheSaving) {
  Communicator& world = test_process().world();
  const std::int64_t size = 20 * kBlockElements + 7;
  const CheckpointPieces whole{.owned = {{100, 0, size - 1000}}, .copies = {{size, size - 1000, 1000}}};
  const CheckpointPieces pieces = replicated_over(world, whole, size);
  std::int64_t num_owned = 0;
  std::int64_t num_copies = 0;
  for (const Piece& piece : pieces.owned) {
    num_owned += piece.size;
    EXPECT_EQ(piece.whole, piece.own + 100);
  }
  for (const Piece& piece : pieces.copies) num_copies += piece.size;
  EXPECT_EQ(num_owned + num_copies, size);
  std::int32_t owned_by_all = static_cast<std::int32_t>(num_owned);
  world.wait(world.all_reduce({&owned_by_all, DType::kInt32, {1}}, ReduceOp::kSum, {}), {});
  EXPECT_EQ(owned_by_all, size - 1000);
  EXPECT_GT(num_owned, 0);
}

TEST(PiecesOverRanksTest, ShardsHaveTheirPartsOfEachBucketInPlace) {
  Communicator& world = test_process().world();
  const std::int64_t part = ShardedLayout::kAlignmentElements;
  const std::int64_t bucket = part * world.size();
  const ShardedLayout layout(2 * bucket, world.size(), bucket);
  const std::int64_t begin = world.rank() * part;
  const CheckpointPieces whole{.owned = {{1000, 0, 2 * bucket}}, .copies = {{5000, bucket, bucket}}};
  const CheckpointPieces pieces = sharded_over(world, whole, layout);
  EXPECT_THAT(pieces.owned, ElementsAre(Piece{1000 + begin, begin, part},
                                        Piece{1000 + bucket + begin, bucket + begin, part}));
  EXPECT_THAT(pieces.copies, ElementsAre(Piece{5000 + begin, bucket + begin, part}));
}

}  // namespace
}  // namespace trireme
