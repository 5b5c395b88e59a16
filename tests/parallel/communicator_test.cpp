// What every communicator owes its callers.  Started plainly the group is one; under mpirun it is all ranks.
#include "parallel/communicator.h"

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/parallel/collective_values.h"
#include "tests/support/ranks.h"

namespace trireme {
namespace {

class CommunicatorTest : public testing::Test {
 protected:
  Communicator& world_ = test_process().world();
  const int rank_ = world_.rank();
  const int size_ = world_.size();
};

TEST_F(CommunicatorTest, RanksAreNumberedFromZero) {
  EXPECT_EQ(rank_, test_process().rank());
  EXPECT_EQ(size_, test_process().num_ranks());
  EXPECT_LE(0, rank_);
  EXPECT_LT(rank_, size_);
}

TEST_F(CommunicatorTest, NotANumberOfAnyRankIsSeenByAll) {
  for (int guilty = 0; guilty < size_; ++guilty) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
      std::vector<float> x(static_cast<std::size_t>(size_ + 2), 1.0F);
      if (rank_ == guilty) x[static_cast<std::size_t>(guilty)] = std::numeric_limits<float>::quiet_NaN();
      world_.wait(world_.all_reduce(tensor(x), op, {}), {});
      for (int i = 0; i < size_ + 2; ++i) EXPECT_EQ(std::isnan(x[static_cast<std::size_t>(i)]), i == guilty);
    }
  }
}

TEST_F(CommunicatorTest, SumIsTheSameInOnePieceAndInMany) {
  constexpr std::int64_t kSize = 1000003;
  std::vector<float> whole = values_of<float>(rank_, kSize);
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
  std::vector<float> first = values_of<float>(rank_, kSize);
  world_.wait(world_.all_reduce(tensor(first), ReduceOp::kSum, {}), {});
  for (int run = 0; run < 5; ++run) {
    std::vector<float> again = values_of<float>(rank_, kSize);
    world_.wait(world_.all_reduce(tensor(again), ReduceOp::kSum, {}), {});
    ASSERT_TRUE(same_bits(first, again));
  }
  std::vector<float> of_all(static_cast<std::size_t>(size_ * kSize));
  world_.wait(world_.all_gather(tensor(of_all).view({size_, kSize}), tensor(first), {}), {});
  for (int r = 0; r < size_; ++r) {
    ASSERT_EQ(std::memcmp(of_all.data() + r * kSize, first.data(), kSize * sizeof(float)), 0) << "rank " << r;
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
  for (int i = 0; i < 40; ++i) tensors.push_back(values_of<float>(rank_, 100 + i * 997));
  tickets.reserve(tensors.size());
  for (auto& x : tensors) tickets.push_back(world_.broadcast(tensor(x), size_ - 1, {}));
  for (std::size_t i : {30UL, 3UL, 39UL, 0UL, 12UL}) {
    world_.wait(tickets[i], {});
    ASSERT_TRUE(
        same_bits(tensors[i], values_of<float>(size_ - 1, static_cast<std::int64_t>(tensors[i].size()))));
  }
}

TEST_F(CommunicatorTest, BarrierCompletesWhatCameBefore) {
  std::vector<float> x(100001, static_cast<float>(rank_ + 1));
  world_.all_reduce(tensor(x), ReduceOp::kSum, {});
  world_.barrier();
  EXPECT_EQ(x, std::vector<float>(100001, static_cast<float>(size_ * (size_ + 1) / 2)));
}

// Small messages arrive in the order in which they were sent, whatever else is under way.
TEST_F(CommunicatorTest, MessagesOfOneRankToAnotherKeepTheirOrder) {
  if (size_ == 1) GTEST_SKIP() << "nobody to send to";
  constexpr int kMessages = 60;
  const int next = (rank_ + 1) % size_;
  const int previous = (rank_ + size_ - 1) % size_;
  std::vector<std::vector<std::int32_t>> sent;
  std::vector<std::vector<std::int32_t>> arrived;
  for (int i = 0; i < kMessages; ++i) {
    const std::int64_t size = i % 3 == 0 ? 20011 : 1 + i;  // long ones take another way through MPI
    sent.push_back(values_of<std::int32_t>(rank_ + 100 * i, size));
    arrived.emplace_back(static_cast<std::size_t>(size));
  }
  std::vector<Communicator::Ticket> tickets;
  for (auto& x : arrived) tickets.push_back(world_.receive(tensor(x), previous, {}));
  for (auto& x : sent) world_.send(tensor(x), next, {});
  for (const Communicator::Ticket ticket : tickets) world_.wait(ticket, {});
  for (int i = 0; i < kMessages; ++i) {
    const auto& x = arrived[static_cast<std::size_t>(i)];
    ASSERT_TRUE(same_bits(x, values_of<std::int32_t>(previous + 100 * i, std::ssize(x)))) << "message " << i;
  }
  world_.barrier();
}

TEST_F(CommunicatorTest, ReceiveHoldsUpNoCollective) {
  if (size_ == 1) GTEST_SKIP() << "nobody to receive from";
  const int partner = rank_ ^ 1;
  const bool has_partner = partner < size_;
  std::vector<float> arrived(300000);
  std::vector<float> mine = values_of<float>(rank_, 300000);
  Communicator::Ticket received = 0;
  if (has_partner) received = world_.receive(tensor(arrived), partner, {});
  std::vector<std::int32_t> x(1000, 1);
  world_.wait(world_.all_reduce(tensor(x), ReduceOp::kSum, {}), {});  // before anybody has sent
  EXPECT_EQ(x, std::vector<std::int32_t>(1000, size_));
  if (has_partner) {
    const auto sent = world_.send(tensor(mine), partner, {});
    world_.wait(received, {});
    world_.wait(sent, {});
    EXPECT_TRUE(same_bits(arrived, values_of<float>(partner, 300000)));
  }
}

// Two rows of the ranks, and their columns: each sums its own, both at the same time.
TEST_F(CommunicatorTest, SplitsIntoRowsAndColumns) {
  const int columns = (size_ + 1) / 2;
  const int row = rank_ / columns;
  const int column = rank_ % columns;
  const auto along_row = world_.split(row, rank_, "row");
  const auto along_column = world_.split(column, rank_, "column");
  EXPECT_EQ(along_row->name(), "row");
  EXPECT_EQ(along_row->rank(), column);
  EXPECT_EQ(along_column->rank(), row);
  std::int32_t row_sum = 0;
  std::int32_t column_sum = 0;
  for (int r = 0; r < size_; ++r) {
    if (r / columns == row) row_sum += 1 << r;
    if (r % columns == column) column_sum += 1 << r;
  }
  std::vector<std::int32_t> x(70001, 1 << rank_);
  std::vector<std::int32_t> y = x;
  const auto in_row = along_row->all_reduce(tensor(x), ReduceOp::kSum, {});
  const auto in_column = along_column->all_reduce(tensor(y), ReduceOp::kSum, {});
  along_column->wait(in_column, {});
  along_row->wait(in_row, {});
  EXPECT_EQ(x, std::vector<std::int32_t>(70001, row_sum));
  EXPECT_EQ(y, std::vector<std::int32_t>(70001, column_sum));
}

TEST_F(CommunicatorTest, SplitOrdersByKeyThenByRank) {
  const auto reversed = world_.split(0, -rank_, "reversed");
  EXPECT_EQ(reversed->size(), size_);
  EXPECT_EQ(reversed->rank(), size_ - 1 - rank_);
  const auto same = reversed->split(0, 7, "same");
  EXPECT_EQ(same->rank(), reversed->rank());
  std::int32_t mine = rank_;
  std::vector<std::int32_t> all(static_cast<std::size_t>(size_));
  same->wait(same->all_gather(tensor(all), {&mine, DType::kInt32, {1}}, {}), {});
  for (int i = 0; i < size_; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], size_ - 1 - i);
}

TEST_F(CommunicatorTest, GroupOfOneIsFree) {
  const auto alone = world_.split(rank_, 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  EXPECT_EQ(alone->name(), "alone");
  std::vector<float> x = values_of<float>(rank_, 1000);
  std::vector<float> out(1000);
  EXPECT_EQ(alone->all_reduce(tensor(x), ReduceOp::kSum, {}), 0U);
  EXPECT_EQ(alone->reduce_scatter(tensor(out), tensor(x), ReduceOp::kSum, {}), 0U);
  alone->barrier();
  EXPECT_TRUE(same_bits(out, values_of<float>(rank_, 1000)));
  EXPECT_EQ(alone->traffic().bytes_received, 0);
  EXPECT_EQ(alone->traffic().num_calls, 0);
}

// The table in communicator.h.
TEST_F(CommunicatorTest, CountsTheBytesOfEachOperation) {
  const auto group = world_.split(0, rank_, "counted");
  const auto received = [&](auto&& operation) {
    const Traffic before = group->traffic();
    operation();
    group->barrier();
    return (group->traffic() - before).bytes_received;
  };
  const std::int64_t n = size_;
  const std::int64_t part = 10007;
  std::vector<float> whole(static_cast<std::size_t>(n * part), 1.0F);
  std::vector<float> other = whole;
  std::vector<float> one(static_cast<std::size_t>(part), 1.0F);
  std::vector<Bfloat16> half(static_cast<std::size_t>(n * part));
  EXPECT_EQ(received([&] { group->all_reduce(tensor(whole), ReduceOp::kMax, {}); }), 2 * (n - 1) * part * 4);
  EXPECT_EQ(received([&] { group->all_reduce(tensor(half), ReduceOp::kMax, {}); }), 2 * (n - 1) * part * 2);
  EXPECT_EQ(received([&] { group->reduce_scatter(tensor(one), tensor(whole), ReduceOp::kMax, {}); }),
            (n - 1) * part * 4);
  EXPECT_EQ(received([&] { group->all_gather(tensor(whole), tensor(one), {}); }), (n - 1) * part * 4);
  EXPECT_EQ(received([&] { group->all_to_all(tensor(other), tensor(whole), {}); }), (n - 1) * part * 4);
  EXPECT_EQ(received([&] { group->broadcast(tensor(one), 0, {}); }), rank_ == 0 ? 0 : part * 4);
  if (n > 1) {
    EXPECT_EQ(received([&] {
                if (rank_ == 0) group->send(tensor(one), 1, {});
                if (rank_ == 1) group->receive(tensor(one), 0, {});
              }),
              rank_ == 1 ? part * 4 : 0);
  }

  // Where n doesn't divide the elements, it is so on average.
  std::vector<float> odd(static_cast<std::size_t>(n * part + 1), 1.0F);
  auto total =
      static_cast<std::int32_t>(received([&] { group->all_reduce(tensor(odd), ReduceOp::kMax, {}); }));
  world_.wait(world_.all_reduce({&total, DType::kInt32, {1}}, ReduceOp::kSum, {}), {});
  EXPECT_EQ(total, 2 * (n - 1) * (n * part + 1) * 4);
}

// Time spent in wait() is what was not hidden.
TEST_F(CommunicatorTest, TimesWhatIsHiddenAndWhatIsNot) {
  if (size_ == 1) GTEST_SKIP() << "takes no time";
  const auto group = world_.split(0, rank_, "timed");
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  std::vector<float> x(1'000'000, 1.0F);
  const Clock::time_point begin = Clock::now();
  const auto ticket = group->all_reduce(tensor(x), ReduceOp::kMax, {});
  while (group->traffic().seconds_busy < 1e-4) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double seconds_hidden = seconds_since(begin);
  group->wait(ticket, {});
  const double seconds = seconds_since(begin);
  const Traffic traffic = group->traffic();
  EXPECT_GT(traffic.seconds_busy, 0.0);
  EXPECT_LE(traffic.seconds_busy, seconds);
  EXPECT_LE(traffic.seconds_waited, seconds - seconds_hidden);
  EXPECT_EQ(traffic.num_calls, 1);
}

TEST_F(CommunicatorTest, RefusesOperandsThatDontFit) {
  std::vector<float> x(12);
  std::vector<std::int32_t> n(12);
  const Tensor columns = tensor(x).view({3, 4}).slice(1, 0, 2);
  GTEST_FLAG_SET(death_test_style, "fast");
  if (size_ > 1) GTEST_SKIP() << "a death test forks, which MPI does not survive";
  EXPECT_DEATH(world_.all_reduce(columns, ReduceOp::kSum, {}), "contiguous");
  EXPECT_DEATH(world_.broadcast(tensor(x), 1, {}), "rank 1 of a group of 1");
  EXPECT_DEATH(world_.all_gather(tensor(x), tensor(x).slice(0, 0, 5), {}), "all_gather");
  EXPECT_DEATH(world_.reduce_scatter(tensor(x).slice(0, 0, 5), tensor(x), ReduceOp::kSum, {}),
               "reduce_scatter");
  EXPECT_DEATH(world_.all_to_all(tensor(n), tensor(x), {}), "all_to_all");
  EXPECT_DEATH(world_.all_reduce(std::array{tensor(x), tensor(n)}, ReduceOp::kSum, {}), "int32 and float32");
  EXPECT_DEATH(world_.send(tensor(x), 0, {}), "to itself");
}

}  // namespace
}  // namespace trireme
