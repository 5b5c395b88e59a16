// Vectors cut to pieces at random, between the ranks that hold them and the slices.
#include "trainer/checkpoint/exchange.h"

#include <algorithm>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/user_error.h"
#include "tests/support/ranks.h"
#include "trainer/checkpoint/pieces.h"

namespace trireme {
namespace {

using testing::HasSubstr;
using testing::Optional;

float value_at(std::int64_t element) {
  return static_cast<float>(element + 1);  // exact, and no gap's
}

// The same on all ranks, but for `pieces_` and `memory_`.
class ExchangeTest : public testing::Test {
 protected:
  static constexpr std::int64_t kNumElements = 9 * kBlockElements + 123;

  // Three parameters with gaps between, cut into pieces that are mostly small, each owned by one rank; others
  // have copies.  What a rank has lies in its memory in another order.
  ExchangeTest() {
    std::mt19937 random(1);
    std::int64_t begin = 0;
    for (const auto& [name, end] :
         {std::pair{"table", 100000}, {"mix", 130000}, {"norm", static_cast<int>(kNumElements) - 5}}) {
      layout_.push_back({.name = name, .offset = begin, .shape = {end - begin}});
      cut(begin, end, random);
      begin = end + 13;
    }
    std::int64_t own = 0;
    std::vector<Piece*> all;
    for (Piece& piece : tensor_.pieces.owned) all.push_back(&piece);
    for (Piece& piece : tensor_.pieces.copies) all.push_back(&piece);
    std::shuffle(all.begin(), all.end(), random);
    for (Piece* piece : all) {
      piece->own = own;
      own += piece->size;
    }
    memory_.resize(static_cast<std::size_t>(own));
    tensor_.values = {memory_.data(), DType::kFloat32, {own}};
  }

  void cut(std::int64_t begin, std::int64_t end, std::mt19937& random) {
    while (begin < end) {
      const std::int64_t size =
          std::min<std::int64_t>(end - begin, random() % 50 == 0 ? random() % 40000 : 1 + random() % 60);
      const auto owner = static_cast<int>(random() % static_cast<unsigned>(world_.size()));
      const auto copier = static_cast<int>(random() % static_cast<unsigned>(2 * world_.size()));
      if (owner == world_.rank()) {
        tensor_.pieces.owned.push_back({.whole = begin, .own = 0, .size = size});
      } else if (copier == world_.rank()) {
        tensor_.pieces.copies.push_back({.whole = begin, .own = 0, .size = size});
      }
      begin += size;
    }
  }

  // What should be in memory_ when all is well.
  std::vector<float> expected_memory() const {
    std::vector<float> expected(memory_.size());
    for (const auto* pieces : {&tensor_.pieces.owned, &tensor_.pieces.copies}) {
      for (const Piece& piece : *pieces) {
        for (std::int64_t i = 0; i < piece.size; ++i)
          expected[static_cast<std::size_t>(piece.own + i)] = value_at(piece.whole + i);
      }
    }
    return expected;
  }
  float expected_in_whole(std::int64_t element) const {
    for (const CheckpointEntry& entry : layout_) {
      if (entry.offset <= element && element < entry.offset + entry.shape.num_elements())
        return value_at(element);
    }
    return 0.0F;
  }

  std::optional<std::string> gather() {
    gathered_.clear();
    const auto take = [&](std::span<const float> elements) {
      gathered_.insert(gathered_.end(), elements.begin(), elements.end());
    };
    return gather_slices(tensor_, layout_, windows_, take, world_);
  }
  bool is_last() const { return world_.rank() == world_.size() - 1; }
  std::string name_of_last() const {
    return world_.size() == 1 ? "" : "rank " + std::to_string(world_.size() - 1) + ": ";
  }

  Communicator& world_ = test_process().world();
  const SliceWindows windows_{kNumElements, world_.size(), /*window_blocks=*/2};
  std::vector<CheckpointEntry> layout_;
  CheckpointTensor tensor_{.name = "adam_m", .values = {}, .pieces = {}};
  std::vector<float> memory_;
  std::vector<float> gathered_;
};

TEST_F(ExchangeTest, SlicesAreWholeBlocksAndWindowsFollowEachOther) {
  std::int64_t end = 0;
  for (int rank = 0; rank < world_.size(); ++rank) {
    const FlatRange slice = windows_.slice(rank);
    EXPECT_EQ(slice.begin, end);
    EXPECT_EQ(slice.begin % kBlockElements, 0);
    for (int round = 0; round < windows_.num_rounds(); ++round) {
      const FlatRange window = windows_.window(rank, round);
      EXPECT_EQ(window.begin, end);
      EXPECT_LE(window.size(), 2 * kBlockElements);
      end = window.end;
    }
    EXPECT_EQ(slice.end, end);
  }
  EXPECT_EQ(end, kNumElements);
}

TEST_F(ExchangeTest, SlicesAreGatheredFromThePiecesOfAllRanks) {
  std::ranges::copy(expected_memory(), memory_.begin());
  ASSERT_EQ(gather(), std::nullopt);
  const FlatRange slice = windows_.slice(world_.rank());
  ASSERT_EQ(std::ssize(gathered_), slice.size());
  for (std::int64_t i = 0; i < slice.size(); ++i)
    ASSERT_EQ(gathered_[static_cast<std::size_t>(i)], expected_in_whole(slice.begin + i)) << slice.begin + i;
}

TEST_F(ExchangeTest, SlicesAreScatteredToThePiecesOfAllRanks) {
  const auto fill = [&](const FlatRange& range, std::span<float> elements) {
    for (std::int64_t i = 0; i < range.size(); ++i)
      elements[static_cast<std::size_t>(i)] = expected_in_whole(range.begin + i);
  };
  ASSERT_EQ(scatter_slices(tensor_, windows_, fill, world_), std::nullopt);
  EXPECT_TRUE(memory_ == expected_memory());
}

TEST_F(ExchangeTest, AnElementThatNoRankOwnsIsFound) {
  std::erase_if(tensor_.pieces.owned, [](const Piece& piece) {
    return piece.whole <= 120000 && 120000 < piece.whole + piece.size;
  });
  EXPECT_THAT(gather(), Optional(HasSubstr("no rank owns adam_m of mix")));
}

TEST_F(ExchangeTest, AnElementThatSeveralRanksOwnIsFound) {
  if (world_.size() == 1) GTEST_SKIP() << "needs two ranks";
  std::vector<float> memory(static_cast<std::size_t>(kNumElements));
  CheckpointTensor tensor{
      .name = "adam_v", .values = {memory.data(), DType::kFloat32, {kNumElements}}, .pieces = {}};
  if (world_.rank() == 0) tensor.pieces = pieces_of(layout_);
  if (is_last()) tensor.pieces.owned = {{.whole = 99999, .own = 0, .size = 1}};
  const auto failure = gather_slices(
      tensor, layout_, windows_, [](auto) {}, world_);
  EXPECT_THAT(failure, Optional(HasSubstr("several ranks own adam_v of table")));
}

TEST_F(ExchangeTest, ACopyThatDiffersIsFound) {
  if (world_.size() == 1) GTEST_SKIP() << "needs two ranks";
  std::ranges::copy(expected_memory(), memory_.begin());
  if (is_last()) {
    const auto& copies = tensor_.pieces.copies;
    const auto norm =
        std::find_if(copies.begin(), copies.end(), [](const Piece& piece) { return piece.whole > 130013; });
    ASSERT_NE(norm, copies.end());
    memory_[static_cast<std::size_t>(norm->own + norm->size - 1)] *= -1.0F;
  }
  EXPECT_THAT(gather(), Optional(HasSubstr("rank " + std::to_string(world_.size() - 1) +
                                           " holds other adam_m of norm")));
}

TEST_F(ExchangeTest, WhatFailsOnOneRankStopsAllAndIsSaidOnAll) {
  int num_windows = 0;
  const auto fail_on_last = [&] {
    ++num_windows;
    if (is_last()) throw UserError("disk", "is full", "");
  };
  const auto saved = gather_slices(
      tensor_, layout_, windows_, [&](auto) { fail_on_last(); }, world_);
  EXPECT_THAT(saved, Optional(testing::StartsWith(name_of_last() + "disk")));
  EXPECT_EQ(num_windows, 1);
  const auto loaded = scatter_slices(
      tensor_, windows_, [&](auto&, auto) { fail_on_last(); }, world_);
  EXPECT_THAT(loaded, Optional(testing::StartsWith(name_of_last() + "disk")));
  EXPECT_EQ(num_windows, 2);
  EXPECT_TRUE(std::all_of(memory_.begin(), memory_.end(), [](float value) { return value == 0.0F; }));
}

}  // namespace
}  // namespace trireme
