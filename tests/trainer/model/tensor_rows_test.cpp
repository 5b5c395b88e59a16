// Ranks that share layers: who has what, and what they exchange.

#include <algorithm>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "parallel/self_communicator.h"
#include "tests/support/ranks.h"
#include "trainer/model/tensor_ranks.h"

namespace trireme {
namespace {

constexpr std::int64_t kMostRows = 40;

Communicator& world() {
  return test_process().world();
}

// Of whichever number of ranks the test is started on.
class TensorRows : public testing::Test {
 protected:
  static constexpr std::int64_t kWidth = 3;

  TensorRows() : ranks_(&world(), world().size()), arena_(1 << 20) {
    ranks_.allocate(arena_, kMostRows, kWidth);
  }
  // Own rows of an activation, which are unlike those of any other rank and row, with room behind.
  Tensor own_rows(std::int64_t rows) {
    const Tensor part = arena_.allocate(DType::kFloat32, {ranks_.rows_per_rank(rows), kWidth});
    const Tensor own = ranks_.own_rows_of(part, rows);
    const std::int64_t first = ranks_.own_rows(rows).begin * kWidth;
    std::fill_n(part.data<float>(), part.num_elements(), -1.0F);
    for (std::int64_t i = 0; i < own.num_elements(); ++i) own.data<float>()[i] = value(first + i);
    return own;
  }
  static float value(std::int64_t i) { return static_cast<float>(7 * i + 3); }

  TensorRanks ranks_;
  Arena arena_;
};

TEST_F(TensorRows, RowsAreCutIntoEqualPartsOfWholeFours) {
  for (std::int64_t rows = 0; rows <= kMostRows; ++rows) {
    const std::int64_t part = ranks_.rows_per_rank(rows);
    const FlatRange own = ranks_.own_rows(rows);
    if (ranks_.is_alone()) {
      EXPECT_EQ(own, (FlatRange{0, rows}));
      continue;
    }
    EXPECT_EQ(part % 4, 0);
    EXPECT_GE(part * ranks_.size(), rows);
    // No smaller multiple of 4 has room for all.
    EXPECT_LT((part - 4) * ranks_.size(), std::max<std::int64_t>(rows, 1)) << rows;
    EXPECT_EQ(own.begin, std::min(part * ranks_.rank(), rows));
    EXPECT_EQ(own.end, std::min(own.begin + part, rows));
  }
}

TEST_F(TensorRows, GatherTellsAllWhatEachHas) {
  for (std::int64_t rows = 0; rows <= kMostRows; ++rows) {
    const std::int64_t mark = arena_.mark();
    const Tensor all = ranks_.gather(own_rows(rows), rows, {});
    ASSERT_EQ(all.dim(0), rows);
    for (std::int64_t i = 0; i < all.num_elements(); ++i)
      ASSERT_EQ(all.data<float>()[i], value(i)) << rows << " rows, element " << i;
    arena_.release(mark);
  }
}

TEST_F(TensorRows, SumGivesEachItsRows) {
  const auto size = static_cast<float>(ranks_.size());
  for (std::int64_t rows = 0; rows <= kMostRows; ++rows) {
    const std::int64_t mark = arena_.mark();
    const Tensor own = own_rows(rows);
    const Tensor partial = ranks_.partial(own, rows);
    ASSERT_EQ(partial.dim(0), rows);
    for (std::int64_t i = 0; i < partial.num_elements(); ++i)
      partial.data<float>()[i] = value(i) + static_cast<float>(ranks_.rank());
    ranks_.sum(own, rows, {});
    const std::int64_t first = ranks_.own_rows(rows).begin * kWidth;
    for (std::int64_t i = 0; i < own.num_elements(); ++i) {
      ASSERT_EQ(own.data<float>()[i], size * value(first + i) + size * (size - 1) / 2)
          << rows << " rows, element " << i;
    }
    arena_.release(mark);
  }
}

// As layers use them: a sum of one tensor under way while another is gathered.
TEST_F(TensorRows, GatherAndSumMayBeUnderWayTogether) {
  constexpr std::int64_t kRows = 13;
  const Tensor x = own_rows(kRows), y = own_rows(kRows);
  const TensorRanks::Gathering gathering = ranks_.begin_gather(x, kRows, {});
  fill(ranks_.partial(y, kRows), 2.0F, {});
  const Communicator::Ticket sum = ranks_.begin_sum(y, kRows, {});
  ranks_.wait(sum, {});
  ranks_.wait(gathering.ticket, {});
  for (std::int64_t i = 0; i < y.num_elements(); ++i)
    ASSERT_EQ(y.data<float>()[i], 2.0F * static_cast<float>(ranks_.size()));
  if (ranks_.is_alone()) return;
  EXPECT_EQ(gathering.rows.raw_data(), ranks_.gathered(x, kRows).raw_data());
  for (std::int64_t i = 0; i < gathering.rows.num_elements(); ++i)
    ASSERT_EQ(gathering.rows.data<float>()[i], value(i));
}

TEST_F(TensorRows, MaskOfOwnRowsIsThatOfAll) {
  constexpr std::int64_t kOddWidth = 5;
  const Dropout whole{.probability = 0.4F, .key = 77, .offset = 40};
  for (std::int64_t rows = 1; rows <= kMostRows; ++rows) {
    std::vector<float> expected(static_cast<std::size_t>(rows * kOddWidth), 1.0F);
    const Tensor all{expected.data(), DType::kFloat32, {rows, kOddWidth}};
    dropout(all, all, whole, {});
    const FlatRange range = ranks_.own_rows(rows);
    std::vector<float> actual(static_cast<std::size_t>(range.size() * kOddWidth), 1.0F);
    const Tensor own{actual.data(), DType::kFloat32, {range.size(), kOddWidth}};
    dropout(own, own, ranks_.own_mask(whole, rows, kOddWidth), {});
    ASSERT_TRUE(std::equal(actual.begin(), actual.end(), expected.begin() + range.begin * kOddWidth))
        << rows << " rows";
  }
}

TEST_F(TensorRows, SharesAreAllThereIs) {
  for (const std::int64_t count : {1, 4, 7, 12, 41}) {
    const FlatRange own = ranks_.share(count);
    std::vector<float> seen(static_cast<std::size_t>(count), 0.0F);
    for (std::int64_t i = own.begin; i < own.end; ++i) seen[static_cast<std::size_t>(i)] = 1.0F;
    const Tensor tensor{seen.data(), DType::kFloat32, {count}};
    world().wait(world().all_reduce(tensor, ReduceOp::kSum, {}), {});
    EXPECT_EQ(seen, std::vector<float>(seen.size(), 1.0F)) << count;
  }
}

// With fewer heads of keys than ranks, neighbours have the same; with as many or more, each has its own.
TEST_F(TensorRows, RanksShareHeadsOfKeysThatAreTooFew) {
  const int size = world().size();
  for (int kv_heads = 1; kv_heads <= 2 * size; ++kv_heads) {
    if (size % kv_heads != 0 && kv_heads % size != 0) continue;
    const TensorRanks ranks(&world(), kv_heads);
    const FlatRange own = ranks.share_of_kv_heads(kv_heads);
    if (kv_heads >= size) {
      EXPECT_EQ(own, ranks.share(kv_heads));
      EXPECT_EQ(ranks.kv_sharers(), nullptr);
      continue;
    }
    const int sharers = size / kv_heads;
    EXPECT_EQ(own, (FlatRange{world().rank() / sharers, world().rank() / sharers + 1}));
    ASSERT_NE(ranks.kv_sharers(), nullptr);
    EXPECT_EQ(ranks.kv_sharers()->size(), sharers);
    EXPECT_EQ(ranks.kv_sharers()->rank(), world().rank() % sharers);
  }
}

TEST(TensorRowsAlone, OneRankHasAllAndExchangesNothing) {
  SelfCommunicator self;
  const TensorRanks of_one(&self, 3);
  for (const TensorRanks* ranks : {&TensorRanks::alone(), &of_one}) {
    EXPECT_TRUE(ranks->is_alone());
    EXPECT_EQ(ranks->own_rows(7), (FlatRange{0, 7}));
    EXPECT_EQ(ranks->share_of_kv_heads(3), (FlatRange{0, 3}));
    std::vector<float> values(14, 1.0F);
    const Tensor x{values.data(), DType::kFloat32, {7, 2}};
    EXPECT_EQ(ranks->gather(x, 7, {}).raw_data(), x.raw_data());
    EXPECT_EQ(ranks->partial(x, 7).raw_data(), x.raw_data());
  }
}

}  // namespace
}  // namespace trireme
