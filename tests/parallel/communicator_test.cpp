// What every communicator owes its callers.  Started plainly the group is one; under mpirun it is all ranks.
#include "parallel/communicator.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace trireme {
namespace {

class CommunicatorTest : public testing::Test {
 protected:
  Communicator& world_ = test_process().world();
  const int rank_ = world_.rank();
  const int size_ = world_.size();
};

// Around the edges of a slice, a piece and a block of the all-reduce, and far beyond them.
const std::vector<std::int64_t> kSizes{0,    1,      2,      3,      7,       64,      2047,   2049,
                                       4099, 262143, 262144, 524289, 1048577, 2097153, 3000017};

template <typename T>
Tensor tensor(std::vector<T>& values) {
  return {values.data(), kDTypeOf<T>, {static_cast<std::int64_t>(values.size())}};
}

// What `rank` contributes; sums of it depend on the order of summation.
std::vector<float> floats_of(int rank, std::int64_t size) {
  std::mt19937 generator(static_cast<unsigned>(rank * 1000003 + size));
  std::vector<float> values(static_cast<std::size_t>(size));
  for (float& value : values) {
    value = std::ldexp(static_cast<float>(generator()) / 4e9F - 0.5F, static_cast<int>(generator() % 24));
  }
  return values;
}

std::vector<std::int32_t> ints_of(int rank, std::int64_t size) {
  std::mt19937 generator(static_cast<unsigned>(rank * 1000003 + size));
  std::vector<std::int32_t> values(static_cast<std::size_t>(size));
  for (std::int32_t& value : values) value = static_cast<std::int32_t>(generator() % 2000001) - 1000000;
  return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

TEST_F(CommunicatorTest, RanksAreNumberedFromZero) {
  EXPECT_EQ(rank_, test_process().rank());
  EXPECT_EQ(size_, test_process().num_ranks());
  EXPECT_LE(0, rank_);
  EXPECT_LT(rank_, size_);
}

TEST_F(CommunicatorTest, SumsFloatsInRankOrder) {
  for (const std::int64_t size : kSizes) {
    std::vector<float> expected = floats_of(0, size);
    for (int r = 1; r < size_; ++r) {
      const std::vector<float> term = floats_of(r, size);
      for (std::size_t i = 0; i < term.size(); ++i) expected[i] += term[i];
    }
    std::vector<float> x = floats_of(rank_, size);
    world_.wait(world_.all_reduce(tensor(x), ReduceOp::kSum, {}), {});
    ASSERT_TRUE(same_bits(x, expected)) << size << " elements";
  }
}

TEST_F(CommunicatorTest, SumsIntegers) {
  for (const std::int64_t size : kSizes) {
    std::vector<std::int32_t> expected(static_cast<std::size_t>(size));
    for (int r = 0; r < size_; ++r) {
      const std::vector<std::int32_t> term = ints_of(r, size);
      for (std::size_t i = 0; i < term.size(); ++i) expected[i] += term[i];
    }
    std::vector<std::int32_t> x = ints_of(rank_, size);
    world_.wait(world_.all_reduce(tensor(x), ReduceOp::kSum, {}), {});
    ASSERT_EQ(x, expected) << size << " elements";
  }
}

TEST_F(CommunicatorTest, TakesTheMaximum) {
  for (const std::int64_t size : {std::int64_t{1}, std::int64_t{4099}, std::int64_t{600000}}) {
    std::vector<float> expected_floats = floats_of(0, size);
    std::vector<std::int32_t> expected_ints = ints_of(0, size);
    for (int r = 1; r < size_; ++r) {
      const std::vector<float> floats = floats_of(r, size);
      const std::vector<std::int32_t> ints = ints_of(r, size);
      for (std::size_t i = 0; i < floats.size(); ++i) {
        expected_floats[i] = std::max(expected_floats[i], floats[i]);
        expected_ints[i] = std::max(expected_ints[i], ints[i]);
      }
    }
    std::vector<float> x = floats_of(rank_, size);
    std::vector<std::int32_t> n = ints_of(rank_, size);
    world_.all_reduce(tensor(x), ReduceOp::kMax, {});
    world_.wait(world_.all_reduce(tensor(n), ReduceOp::kMax, {}), {});
    ASSERT_EQ(x, expected_floats);
    ASSERT_EQ(n, expected_ints);
  }
}

TEST_F(CommunicatorTest, NotANumberOfAnyRankIsSeenByAll) {
  for (int guilty = 0; guilty < size_; ++guilty) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
      std::vector<float> x{1.0F, 2.0F, 3.0F, 4.0F, 5.0F};
      if (rank_ == guilty) x[static_cast<std::size_t>(guilty)] = std::numeric_limits<float>::quiet_NaN();
      world_.wait(world_.all_reduce(tensor(x), op, {}), {});
      for (int i = 0; i < 5; ++i) EXPECT_EQ(std::isnan(x[static_cast<std::size_t>(i)]), i == guilty);
    }
  }
}

TEST_F(CommunicatorTest, SumIsTheSameInOnePieceAndInMany) {
  constexpr std::int64_t kSize = 1000003;
  std::vector<float> whole = floats_of(rank_, kSize);
  std::vector<float> parts = whole;
  world_.wait(world_.all_reduce(tensor(whole), ReduceOp::kSum, {}), {});
  Communicator::Ticket ticket = 0;
  for (std::int64_t begin = 0, step = 1; begin < kSize; begin += step, step = step * 3 + 1) {
    const Tensor part = tensor(parts).slice(0, begin, std::min(kSize, begin + step));
    ticket = world_.all_reduce(part, ReduceOp::kSum, {});
  }
  world_.wait(ticket, {});
  EXPECT_TRUE(same_bits(whole, parts));
}

TEST_F(CommunicatorTest, ResultsAreBitIdenticalOnAllRanksAndFromRunToRun) {
  constexpr std::int64_t kSize = 700001;
  std::vector<float> first = floats_of(rank_, kSize);
  world_.wait(world_.all_reduce(tensor(first), ReduceOp::kSum, {}), {});
  for (int run = 0; run < 5; ++run) {
    std::vector<float> again = floats_of(rank_, kSize);
    world_.wait(world_.all_reduce(tensor(again), ReduceOp::kSum, {}), {});
    ASSERT_TRUE(same_bits(first, again));
  }
  std::vector<float> of_all(static_cast<std::size_t>(size_ * kSize));
  world_.wait(world_.all_gather(tensor(of_all).view({size_, kSize}), tensor(first), {}), {});
  for (int r = 0; r < size_; ++r) {
    ASSERT_EQ(std::memcmp(of_all.data() + r * kSize, first.data(), kSize * sizeof(float)), 0) << "rank " << r;
  }
}

TEST_F(CommunicatorTest, BroadcastsFromEveryRoot) {
  for (int root = 0; root < size_; ++root) {
    for (const std::int64_t size : kSizes) {
      std::vector<float> x = floats_of(rank_, size);
      world_.wait(world_.broadcast(tensor(x), root, {}), {});
      ASSERT_TRUE(same_bits(x, floats_of(root, size))) << size << " elements from " << root;
    }
  }
}

TEST_F(CommunicatorTest, GathersInRankOrder) {
  for (const std::int64_t size : kSizes) {
    std::vector<std::int32_t> x = ints_of(rank_, size);
    std::vector<std::int32_t> out(static_cast<std::size_t>(size_ * size));
    world_.wait(world_.all_gather(tensor(out).view({size_, size}), tensor(x), {}), {});
    std::vector<std::int32_t> expected;
    for (int r = 0; r < size_; ++r) {
      const std::vector<std::int32_t> part = ints_of(r, size);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    ASSERT_EQ(out, expected) << size << " elements";
    ASSERT_EQ(x, ints_of(rank_, size));
  }
}

TEST_F(CommunicatorTest, GathersInPlace) {
  constexpr std::int64_t kSize = 5001;
  std::vector<float> out(static_cast<std::size_t>(size_ * kSize), -1.0F);
  const Tensor all = tensor(out).view({size_, kSize});
  const Tensor mine = all.slice(0, rank_, rank_ + 1);
  const std::vector<float> values = floats_of(rank_, kSize);
  std::copy(values.begin(), values.end(), mine.data<float>());
  world_.wait(world_.all_gather(all, mine, {}), {});
  for (int r = 0; r < size_; ++r) {
    const std::vector<float> part = floats_of(r, kSize);
    ASSERT_EQ(std::memcmp(out.data() + r * kSize, part.data(), kSize * sizeof(float)), 0) << "rank " << r;
  }
}

// Each operation works on what the one before it left, so that any other order gives other numbers.
TEST_F(CommunicatorTest, ManyOperationsInFlightRunInTheOrderGiven) {
  constexpr std::int64_t kSize = 1000;
  std::vector<std::int32_t> x(kSize, rank_);
  std::int32_t expected = 0;
  Communicator::Ticket ticket = 0;
  for (int i = 0; i < 300; ++i) {
    const int root = i % size_;
    world_.broadcast(tensor(x), root, {});                                               // all = root's
    const Communicator::Ticket next = world_.all_reduce(tensor(x), ReduceOp::kSum, {});  // times size, wraps
    EXPECT_TRUE(size_ == 1 || next > ticket);
    ticket = next;
    expected =
        static_cast<std::int32_t>(static_cast<std::uint32_t>(expected) * static_cast<std::uint32_t>(size_));
  }
  world_.wait(ticket, {});
  EXPECT_EQ(x, std::vector<std::int32_t>(kSize, expected));
}

TEST_F(CommunicatorTest, WaitsOfManyOperationsMayComeInAnyOrder) {
  std::vector<std::vector<float>> tensors;
  std::vector<Communicator::Ticket> tickets;
  for (int i = 0; i < 40; ++i) tensors.push_back(floats_of(rank_, 100 + i * 997));
  tickets.reserve(tensors.size());
  for (auto& x : tensors) tickets.push_back(world_.broadcast(tensor(x), size_ - 1, {}));
  for (std::size_t i : {30UL, 3UL, 39UL, 0UL, 12UL}) {
    world_.wait(tickets[i], {});
    ASSERT_TRUE(same_bits(tensors[i], floats_of(size_ - 1, static_cast<std::int64_t>(tensors[i].size()))));
  }
}

TEST_F(CommunicatorTest, BarrierCompletesWhatCameBefore) {
  std::vector<float> x(100001, static_cast<float>(rank_ + 1));
  world_.all_reduce(tensor(x), ReduceOp::kSum, {});
  world_.barrier();
  EXPECT_EQ(x, std::vector<float>(100001, static_cast<float>(size_ * (size_ + 1) / 2)));
}

TEST_F(CommunicatorTest, RefusesOperandsThatAreNotContiguous) {
  std::vector<float> x(12);
  const Tensor columns = tensor(x).view({3, 4}).slice(1, 0, 2);
  GTEST_FLAG_SET(death_test_style, "fast");
  if (size_ > 1) GTEST_SKIP() << "a death test forks, which MPI does not survive";
  EXPECT_DEATH(world_.all_reduce(columns, ReduceOp::kSum, {}), "contiguous");
  EXPECT_DEATH(world_.broadcast(tensor(x), 1, {}), "rank 1 of a group of 1");
  EXPECT_DEATH(world_.all_gather(tensor(x), tensor(x).slice(0, 0, 5), {}), "all_gather");
}

}  // namespace
}  // namespace trireme
