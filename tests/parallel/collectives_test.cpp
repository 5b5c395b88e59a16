// Every collective, for every type and for sizes around all edges, against plain recomputation.
#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/communicator.h"
#include "tests/parallel/collective_values.h"
#include "tests/support/ranks.h"

namespace trireme {
namespace {

template <typename T>
class CollectivesTest : public testing::Test {
 protected:
  // Around the edges of a slice, a piece and a block of the reductions, and far beyond them where the ranks
  // are few enough for it to be quick.
  std::vector<std::int64_t> sizes() const {
    std::vector<std::int64_t> sizes{0, 1, 2, 3, 7, 64, 2047, 2049, 4099};
    if (size_ <= 4) sizes.insert(sizes.end(), {262144, 524289, 1700003});
    if (size_ > 4) sizes.push_back(262145);
    return sizes;
  }
  // Of one rank, when each has as many.
  std::vector<std::int64_t> part_sizes() const {
    std::vector<std::int64_t> sizes{0, 1, 3, 64, 2049};
    if (size_ <= 2) sizes.push_back(530001);
    sizes.push_back(size_ <= 4 ? 262145 : 30011);
    return sizes;
  }

  static T combine_all(const std::vector<T>& terms, ReduceOp op) {
    if constexpr (std::is_same_v<T, std::int32_t>) {
      T result = terms[0];
      for (std::size_t r = 1; r < terms.size(); ++r)
        result = op == ReduceOp::kSum ? result + terms[r] : std::max(result, terms[r]);
      return result;
    } else {
      auto result = static_cast<float>(terms[0]);
      for (std::size_t r = 1; r < terms.size(); ++r) {
        const auto term = static_cast<float>(terms[r]);
        result = op == ReduceOp::kSum ? result + term : std::max(result, term);
      }
      return T(result);
    }
  }
  // What the reduction over all ranks is, in rank order.
  std::vector<T> reduced(std::int64_t size, ReduceOp op) const {
    std::vector<std::vector<T>> of_ranks;
    for (int r = 0; r < size_; ++r) of_ranks.push_back(values_of<T>(r, size));
    std::vector<T> result(static_cast<std::size_t>(size));
    std::vector<T> terms(of_ranks.size());
    for (std::size_t i = 0; i < result.size(); ++i) {
      for (std::size_t r = 0; r < terms.size(); ++r) terms[r] = of_ranks[r][i];
      result[i] = combine_all(terms, op);
    }
    return result;
  }
  static std::vector<T> part(const std::vector<T>& whole, int rank, std::int64_t size) {
    return {whole.begin() + rank * size, whole.begin() + (rank + 1) * size};
  }

  Communicator& world_ = test_process().world();
  const int rank_ = world_.rank();
  const int size_ = world_.size();
};

using Types = testing::Types<float, Bfloat16, std::int32_t>;
class TypeNames {
 public:
  template <typename T>
  static std::string GetName(int) {
    return name(kDTypeOf<T>);
  }
};
TYPED_TEST_SUITE(CollectivesTest, Types, TypeNames);

constexpr std::array kOps{ReduceOp::kSum, ReduceOp::kMax};

TYPED_TEST(CollectivesTest, AllReduceCombinesInRankOrder) {
  for (const ReduceOp op : kOps) {
    for (const std::int64_t size : this->sizes()) {
      if (op == ReduceOp::kMax && size > 600000) continue;  // moves as a sum does
      auto x = values_of<TypeParam>(this->rank_, size);
      this->world_.wait(this->world_.all_reduce(tensor(x), op, {}), {});
      ASSERT_TRUE(same_bits(x, this->reduced(size, op))) << size << " elements";
    }
  }
}

TYPED_TEST(CollectivesTest, AllReduceOfSeveralIsThatOfEach) {
  for (const ReduceOp op : kOps) {
    std::vector<std::vector<TypeParam>> values;
    for (const std::int64_t size : {5, 0, 1, 4099, 64, 70001}) {
      values.push_back(values_of<TypeParam>(this->rank_, size));
    }
    std::vector<Tensor> tensors;
    for (auto& x : values) tensors.push_back(tensor(x));
    this->world_.wait(this->world_.all_reduce(tensors, op, {}), {});
    for (const auto& x : values) {
      ASSERT_TRUE(same_bits(x, this->reduced(static_cast<std::int64_t>(x.size()), op))) << x.size();
    }
  }
}

TYPED_TEST(CollectivesTest, ReduceScatterLeavesEachItsPart) {
  for (const ReduceOp op : kOps) {
    for (const std::int64_t size : this->part_sizes()) {
      const auto original = values_of<TypeParam>(this->rank_, size * this->size_);
      const auto expected = this->part(this->reduced(size * this->size_, op), this->rank_, size);
      auto x = original;
      std::vector<TypeParam> out(static_cast<std::size_t>(size));
      this->world_.wait(this->world_.reduce_scatter(tensor(out), tensor(x), op, {}), {});
      ASSERT_TRUE(same_bits(out, expected)) << size << " elements per rank";
      ASSERT_TRUE(same_bits(x, original)) << size << " elements per rank";
    }
  }
}

TYPED_TEST(CollectivesTest, ReduceScatterInPlaceKeepsTheOtherParts) {
  for (const std::int64_t size : this->part_sizes()) {
    if (size == 0) continue;
    auto x = values_of<TypeParam>(this->rank_, size * this->size_);
    auto expected = x;
    const auto mine = this->part(this->reduced(size * this->size_, ReduceOp::kSum), this->rank_, size);
    std::copy(mine.begin(), mine.end(), expected.begin() + this->rank_ * size);
    const Tensor out = tensor(x).slice(0, this->rank_ * size, (this->rank_ + 1) * size);
    this->world_.wait(this->world_.reduce_scatter(out, tensor(x), ReduceOp::kSum, {}), {});
    ASSERT_TRUE(same_bits(x, expected)) << size << " elements per rank";
  }
}

TYPED_TEST(CollectivesTest, AllGatherCollectsInRankOrder) {
  for (const std::int64_t size : this->part_sizes()) {
    std::vector<TypeParam> expected;
    for (int r = 0; r < this->size_; ++r) {
      const auto part = values_of<TypeParam>(r, size);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    auto x = values_of<TypeParam>(this->rank_, size);
    std::vector<TypeParam> out(expected.size());
    this->world_.wait(this->world_.all_gather(tensor(out).view({this->size_, size}), tensor(x), {}), {});
    ASSERT_TRUE(same_bits(out, expected)) << size << " elements per rank";
    ASSERT_TRUE(same_bits(x, values_of<TypeParam>(this->rank_, size)));
    if (size == 0) continue;

    std::fill(out.begin(), out.end(), TypeParam{});
    std::copy(x.begin(), x.end(), out.begin() + this->rank_ * size);
    const Tensor mine = tensor(out).slice(0, this->rank_ * size, (this->rank_ + 1) * size);
    this->world_.wait(this->world_.all_gather(tensor(out), mine, {}), {});
    ASSERT_TRUE(same_bits(out, expected)) << size << " elements per rank, in place";
  }
}

TYPED_TEST(CollectivesTest, AllToAllTransposes) {
  for (const std::int64_t size : this->part_sizes()) {
    std::vector<TypeParam> expected;
    for (int r = 0; r < this->size_; ++r) {
      const auto theirs = this->part(values_of<TypeParam>(r, size * this->size_), this->rank_, size);
      expected.insert(expected.end(), theirs.begin(), theirs.end());
    }
    auto x = values_of<TypeParam>(this->rank_, size * this->size_);
    std::vector<TypeParam> out(x.size());
    this->world_.wait(this->world_.all_to_all(tensor(out), tensor(x), {}), {});
    ASSERT_TRUE(same_bits(out, expected)) << size << " elements per rank";
  }
}

TYPED_TEST(CollectivesTest, BroadcastsFromEveryRoot) {
  for (int root = 0; root < this->size_; ++root) {
    for (const std::int64_t size : this->part_sizes()) {
      auto x = values_of<TypeParam>(this->rank_, size);
      this->world_.wait(this->world_.broadcast(tensor(x), root, {}), {});
      ASSERT_TRUE(same_bits(x, values_of<TypeParam>(root, size))) << size << " elements from " << root;
    }
  }
}

// All send before anybody receives.
TYPED_TEST(CollectivesTest, MessagesGoRoundTheRanks) {
  if (this->size_ == 1) GTEST_SKIP() << "nobody to send to";
  const int next = (this->rank_ + 1) % this->size_;
  const int previous = (this->rank_ + this->size_ - 1) % this->size_;
  for (const std::int64_t size : this->part_sizes()) {
    auto x = values_of<TypeParam>(this->rank_, size);
    std::vector<TypeParam> arrived(x.size());
    const auto sent = this->world_.send(tensor(x), next, {});
    this->world_.wait(this->world_.receive(tensor(arrived), previous, {}), {});
    this->world_.wait(sent, {});
    ASSERT_TRUE(same_bits(arrived, values_of<TypeParam>(previous, size))) << size << " elements";
  }
}

}  // namespace
}  // namespace trireme
