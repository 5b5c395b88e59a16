// What every communicator owes its callers, over NCCL between the devices of the ranks of mpirun.
#include "parallel/nccl_communicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/mesh.h"
#include "tests/parallel/nccl/device_values.h"
#include "tests/support/ranks.h"

namespace trireme {
namespace {

Device device_of_rank() {
  return {DeviceType::kCuda, test_process().local_rank()};
}

class NcclTest : public testing::Test {
 protected:
  const Device device_ = device_of_rank();
  const DeviceStream own_stream_{device_};
  const Stream stream_ = own_stream_;
  const std::unique_ptr<Communicator> comm_ = nccl_communicator(test_process().world(), device_);
  const int rank_ = comm_->rank();
  const int size_ = comm_->size();
};

template <typename T>
class NcclCollectivesTest : public NcclTest {
 protected:
  static constexpr std::array<std::int64_t, 5> kSizes{0, 1, 3, 64, 20011};

  // In rank order.
  std::vector<T> reduced(std::int64_t size, ReduceOp op) const {
    std::vector<T> result;
    for (std::int64_t i = 0; i < size; ++i) {
      if constexpr (std::is_same_v<T, std::int32_t>) {
        result.push_back(combined(i, size, op, [](T x) { return x; }));
      } else {
        result.push_back(T(combined(i, size, op, [](T x) { return static_cast<float>(x); })));
      }
    }
    return result;
  }

 private:
  template <typename Widen>
  auto combined(std::int64_t i, std::int64_t size, ReduceOp op, Widen widen) const {
    auto result = widen(of_rank(0, size)[static_cast<std::size_t>(i)]);
    for (int r = 1; r < size_; ++r) {
      const auto term = widen(of_rank(r, size)[static_cast<std::size_t>(i)]);
      result = op == ReduceOp::kSum ? result + term : std::max(result, term);
    }
    return result;
  }
  const std::vector<T>& of_rank(int rank, std::int64_t size) const {
    if (known_size_ != size) {
      known_.clear();
      for (int r = 0; r < size_; ++r) known_.push_back(values_of<T>(r, size));
      known_size_ = size;
    }
    return known_[static_cast<std::size_t>(rank)];
  }
  mutable std::int64_t known_size_ = -1;
  mutable std::vector<std::vector<T>> known_;

 protected:
  std::vector<T> part(const std::vector<T>& whole, int rank, std::int64_t size) const {
    return {whole.begin() + rank * size, whole.begin() + (rank + 1) * size};
  }
};

using Types = testing::Types<float, Bfloat16, std::int32_t>;
TYPED_TEST_SUITE(NcclCollectivesTest, Types);

TYPED_TEST(NcclCollectivesTest, AllReduceSumsInRankOrder) {
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
    for (const std::int64_t size : this->kSizes) {
      OnDevice<TypeParam> x(values_of<TypeParam>(this->rank_, size), this->stream_);
      this->comm_->wait(this->comm_->all_reduce(x.tensor(), op, this->stream_), this->stream_);
      ASSERT_TRUE(same_bits(x.values(), this->reduced(size, op))) << size;
    }
  }
}

TYPED_TEST(NcclCollectivesTest, AllReducesSeveralTensorsAtOnce) {
  std::deque<OnDevice<TypeParam>> tensors;
  std::vector<Tensor> xs;
  for (const std::int64_t size : this->kSizes) {
    tensors.emplace_back(values_of<TypeParam>(this->rank_, size), this->stream_);
    xs.push_back(tensors.back().tensor());
  }
  this->comm_->wait(this->comm_->all_reduce(xs, ReduceOp::kSum, this->stream_), this->stream_);
  for (std::size_t i = 0; i < xs.size(); ++i)
    ASSERT_TRUE(same_bits(tensors[i].values(), this->reduced(this->kSizes[i], ReduceOp::kSum)));
}

TYPED_TEST(NcclCollectivesTest, ReduceScatterGivesEachRankItsPart) {
  for (const std::int64_t size : this->kSizes) {
    const std::int64_t whole = size * this->size_;
    const auto expected = this->part(this->reduced(whole, ReduceOp::kSum), this->rank_, size);
    OnDevice<TypeParam> x(values_of<TypeParam>(this->rank_, whole), this->stream_);
    OnDevice<TypeParam> out(std::vector<TypeParam>(static_cast<std::size_t>(size)), this->stream_);
    auto& comm = *this->comm_;
    comm.wait(comm.reduce_scatter(out.tensor(), x.tensor(), ReduceOp::kSum, this->stream_), this->stream_);
    ASSERT_TRUE(same_bits(out.values(), expected)) << size;
    const Tensor mine = x.tensor().slice(0, this->rank_ * size, (this->rank_ + 1) * size);
    comm.wait(comm.reduce_scatter(mine, x.tensor(), ReduceOp::kSum, this->stream_), this->stream_);
    ASSERT_TRUE(same_bits(this->part(x.values(), this->rank_, size), expected)) << size << " in place";
  }
}

TYPED_TEST(NcclCollectivesTest, AllGatherAndAllToAllCollectInRankOrder) {
  for (const std::int64_t size : this->kSizes) {
    std::vector<TypeParam> gathered, transposed;
    for (int r = 0; r < this->size_; ++r) {
      const auto theirs = values_of<TypeParam>(r, size);
      gathered.insert(gathered.end(), theirs.begin(), theirs.end());
      const auto for_me = this->part(values_of<TypeParam>(r, size * this->size_), this->rank_, size);
      transposed.insert(transposed.end(), for_me.begin(), for_me.end());
    }
    auto& comm = *this->comm_;
    OnDevice<TypeParam> x(values_of<TypeParam>(this->rank_, size), this->stream_);
    OnDevice<TypeParam> out(std::vector<TypeParam>(gathered.size()), this->stream_);
    comm.wait(comm.all_gather(out.tensor(), x.tensor(), this->stream_), this->stream_);
    ASSERT_TRUE(same_bits(out.values(), gathered)) << size;
    OnDevice<TypeParam> parts(values_of<TypeParam>(this->rank_, size * this->size_), this->stream_);
    comm.wait(comm.all_to_all(out.tensor(), parts.tensor(), this->stream_), this->stream_);
    ASSERT_TRUE(same_bits(out.values(), transposed)) << size;
    const Tensor mine = out.tensor().slice(0, this->rank_ * size, (this->rank_ + 1) * size);
    if (size > 0) copy(mine, x.tensor(), this->stream_);
    comm.wait(comm.all_gather(out.tensor(), mine, this->stream_), this->stream_);
    ASSERT_TRUE(same_bits(out.values(), gathered)) << size << " in place";
  }
}

TYPED_TEST(NcclCollectivesTest, BroadcastsFromEveryRoot) {
  for (int root = 0; root < this->size_; ++root) {
    OnDevice<TypeParam> x(values_of<TypeParam>(this->rank_, 2049), this->stream_);
    this->comm_->wait(this->comm_->broadcast(x.tensor(), root, this->stream_), this->stream_);
    ASSERT_TRUE(same_bits(x.values(), values_of<TypeParam>(root, 2049))) << root;
  }
}

// A communicator of devices takes the CPU's tensors, too.
TYPED_TEST(NcclCollectivesTest, TensorsOfTheCpuGoOverTheHost) {
  auto x = values_of<TypeParam>(this->rank_, 1000);
  this->comm_->wait(this->comm_->all_reduce(tensor(x), ReduceOp::kSum, {}), {});
  EXPECT_TRUE(same_bits(x, this->reduced(1000, ReduceOp::kSum)));
}

// Each works on what the one before it left; the host waits for none.
TEST_F(NcclTest, OperationsRunInTheOrderGiven) {
  OnDevice<std::int32_t> x(std::vector<std::int32_t>(100, rank_ + 1), stream_);
  std::int32_t expected = 1;
  for (int i = 0; i < 10; ++i) {
    comm_->broadcast(x.tensor(), 0, stream_);
    const auto ticket = comm_->all_reduce(x.tensor(), ReduceOp::kSum, stream_);
    if (i % 3 == 0) comm_->wait(ticket, stream_);
    expected *= size_;
  }
  comm_->barrier();
  comm_->wait(comm_->all_reduce(x.tensor(), ReduceOp::kMax, stream_), stream_);
  EXPECT_EQ(x.values(), std::vector<std::int32_t>(100, expected));
}

// The device of the root sends while its host waits for others in MPI.
TEST_F(NcclTest, APeerMayWaitForWhatNobodyHereWaitsFor) {
  OnDevice<float> x(values_of<float>(rank_, 30011), stream_);
  const auto ticket = comm_->broadcast(x.tensor(), 0, stream_);
  if (rank_ > 0) {
    comm_->wait(ticket, stream_);
    EXPECT_TRUE(same_bits(x.values(), values_of<float>(0, 30011)));
  }
  test_process().world().barrier();
  comm_->wait(ticket, stream_);
}

// A wait with the CPU's stream is the host's.
TEST_F(NcclTest, TheHostMayWait) {
  OnDevice<float> x(std::vector<float>(1000, 1.0F), stream_);
  comm_->wait(comm_->all_reduce(x.tensor(), ReduceOp::kSum, stream_), {});
  EXPECT_EQ(x.values(), std::vector<float>(1000, static_cast<float>(size_)));
}

// Rows and columns of the ranks sum at the same time, on streams of their own, beside what is computed.
TEST_F(NcclTest, GroupsWorkAtTheSameTime) {
  const int columns = (size_ + 1) / 2;
  const auto row = comm_->split(rank_ / columns, rank_, "row");
  const auto column = comm_->split(rank_ % columns, rank_, "column");
  EXPECT_EQ(row->name(), "row");
  EXPECT_EQ(row->rank(), rank_ % columns);
  EXPECT_EQ(column->rank(), rank_ / columns);
  float in_row = 0, in_column = 0;
  for (int r = 0; r < size_; ++r) {
    if (r / columns == rank_ / columns) in_row += static_cast<float>(1 << r);
    if (r % columns == rank_ % columns) in_column += static_cast<float>(1 << r);
  }
  const DeviceStream other(device_);
  OnDevice<float> x(std::vector<float>(5000, static_cast<float>(1 << rank_)), stream_);
  OnDevice<float> y(std::vector<float>(5000, static_cast<float>(1 << rank_)), other);
  OnDevice<float> z(std::vector<float>(5000, 1.0F), stream_);
  const auto of_row = row->all_reduce(x.tensor(), ReduceOp::kSum, stream_);
  const auto of_column = column->all_reduce(y.tensor(), ReduceOp::kSum, other);
  fill(z.tensor(), 2.0F, stream_);
  row->wait(of_row, stream_);
  accumulate(z.tensor(), x.tensor(), stream_);
  column->wait(of_column, stream_);
  accumulate(z.tensor(), y.tensor(), stream_);
  EXPECT_EQ(z.values(), std::vector<float>(5000, 2.0F + in_row + in_column));
}

TEST_F(NcclTest, SplitOrdersByKeyThenByRank) {
  const auto reversed = comm_->split(0, -rank_, "reversed");
  EXPECT_EQ(reversed->rank(), size_ - 1 - rank_);
  OnDevice<std::int32_t> mine({rank_}, stream_);
  OnDevice<std::int32_t> all(std::vector<std::int32_t>(static_cast<std::size_t>(size_)), stream_);
  reversed->wait(reversed->all_gather(all.tensor(), mine.tensor(), stream_), stream_);
  const auto ranks = all.values();
  for (int i = 0; i < size_; ++i) EXPECT_EQ(ranks[static_cast<std::size_t>(i)], size_ - 1 - i);
}

TEST_F(NcclTest, GroupOfOneCopiesOnTheStream) {
  const auto alone = comm_->split(rank_, 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  OnDevice<float> x(values_of<float>(rank_, 1000), stream_);
  OnDevice<float> out(std::vector<float>(1000), stream_);
  alone->wait(alone->all_gather(out.tensor(), x.tensor(), stream_), stream_);
  EXPECT_TRUE(same_bits(out.values(), values_of<float>(rank_, 1000)));
}

// Both directions at a time, all receives before any send, and a collective between them.
TEST_F(NcclTest, MessagesGoRoundTheRingBothWays) {
  comm_->open_messages();
  comm_->open_messages();
  constexpr int kMessages = 4;
  const std::array<int, 2> peers{(rank_ + 1) % size_, (rank_ + size_ - 1) % size_};
  std::deque<OnDevice<float>> arrived, sent;
  std::vector<Communicator::Ticket> received, left;
  const auto length = [](int i) { return 100 + 3001 * i; };
  for (int i = 0; i < kMessages; ++i) {
    for (const int peer : peers) {
      arrived.emplace_back(std::vector<float>(static_cast<std::size_t>(length(i))), stream_);
      received.push_back(comm_->receive(arrived.back().tensor(), peer, stream_));
    }
  }
  OnDevice<std::int32_t> one({1}, stream_);
  comm_->wait(comm_->all_reduce(one.tensor(), ReduceOp::kSum, stream_), stream_);
  EXPECT_EQ(one.values(), std::vector<std::int32_t>{size_});
  for (int i = 0; i < kMessages; ++i) {
    for (const int peer : {peers[1], peers[0]}) {
      sent.emplace_back(values_of<float>(rank_ + 10 * i, length(i)), stream_);
      left.push_back(comm_->send(sent.back().tensor(), peer, stream_));
    }
  }
  for (const auto ticket : received) comm_->wait(ticket, stream_);
  for (const auto ticket : left) comm_->wait(ticket, stream_);
  for (std::size_t i = 0; i < arrived.size(); ++i) {
    const int message = static_cast<int>(i / 2);
    const auto expected = values_of<float>(peers[i % 2] + 10 * message, length(message));
    EXPECT_TRUE(same_bits(arrived[i].values(), expected)) << i;
  }
  comm_->barrier();
}

// A pipeline of two stages where the ranks allow it, the others data.
TEST_F(NcclTest, AMeshOfDevicesSumsAlongItsAxes) {
  const MeshShape shape{.pipeline = size_ % 2 == 0 ? 2 : 1, .data = 0, .tensor = 1};
  const Mesh mesh(shape, *comm_);
  for (const Axis axis : kAxes) {
    Communicator& group = mesh.axis(axis);
    EXPECT_EQ(group.name(), name(axis));
    OnDevice<float> x(std::vector<float>(100, static_cast<float>(group.rank() + 1)), stream_);
    group.wait(group.all_reduce(x.tensor(), ReduceOp::kSum, stream_), stream_);
    EXPECT_EQ(x.values()[99], static_cast<float>(group.size() * (group.size() + 1) / 2)) << name(axis);
  }
  if (mesh.size(Axis::kPipeline) == 1) return;
  Communicator& back = mesh.pipeline_back();
  back.open_messages();
  mesh.pipeline().open_messages();
  OnDevice<float> x(std::vector<float>(100, static_cast<float>(rank_)), stream_);
  OnDevice<float> y(std::vector<float>(100), stream_);
  const int other = 1 - mesh.coordinate(Axis::kPipeline);
  const auto received = back.receive(y.tensor(), other, stream_);
  const auto sent = back.send(x.tensor(), other, stream_);
  back.wait(received, stream_);
  back.wait(sent, stream_);
  EXPECT_EQ(y.values()[0], static_cast<float>((rank_ + size_ / 2) % size_));
}

// The table in communicator.h.
TEST_F(NcclTest, CountsTheBytesOfEachOperation) {
  const auto group = comm_->split(0, rank_, "counted");
  const std::int64_t n = size_, part = 107;
  OnDevice<float> whole(std::vector<float>(static_cast<std::size_t>(n * part), 1.0F), stream_);
  OnDevice<float> other(std::vector<float>(static_cast<std::size_t>(n * part), 1.0F), stream_);
  OnDevice<float> one(std::vector<float>(static_cast<std::size_t>(part), 1.0F), stream_);
  const auto received = [&](Communicator::Ticket ticket, std::int64_t expected) {
    static thread_local std::int64_t before = 0;
    group->wait(ticket, stream_);
    EXPECT_EQ(group->traffic().bytes_received - before, expected);
    before = group->traffic().bytes_received;
  };
  received(group->all_reduce(whole.tensor(), ReduceOp::kMax, stream_), 2 * (n - 1) * part * 4);
  received(group->reduce_scatter(one.tensor(), whole.tensor(), ReduceOp::kMax, stream_), (n - 1) * part * 4);
  received(group->all_gather(whole.tensor(), one.tensor(), stream_), (n - 1) * part * 4);
  received(group->all_to_all(other.tensor(), whole.tensor(), stream_), (n - 1) * part * 4);
  received(group->broadcast(one.tensor(), 0, stream_), rank_ == 0 ? 0 : part * 4);
  EXPECT_EQ(group->traffic().num_calls, 5);
}

}  // namespace
}  // namespace trireme
