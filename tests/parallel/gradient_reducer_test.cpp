#include "parallel/gradient_reducer.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/counted_ranges.h"
#include "tests/support/ranks.h"

namespace trireme {
namespace {

// Notes what is asked of it; a sum "over two ranks of equal gradients" doubles.
class RecordingCommunicator final : public Communicator {
 public:
  struct Reduction {
    const float* begin;
    std::int64_t size;
  };
  std::vector<Reduction> reductions;
  Ticket waited_for = 0;

  int rank() const override { return 0; }
  int size() const override { return 2; }
  Ticket all_reduce(Tensor x, ReduceOp op, Stream) override {
    EXPECT_EQ(op, ReduceOp::kSum);
    auto* values = x.data<float>();
    for (std::int64_t i = 0; i < x.num_elements(); ++i) values[i] *= 2.0F;
    reductions.push_back({values, x.num_elements()});
    return reductions.size();
  }
  void wait(Ticket ticket, Stream) override { waited_for = std::max(waited_for, ticket); }

  const std::string& name() const override { return name_; }
  Ticket all_reduce(std::span<const Tensor>, ReduceOp, Stream) override { return unexpected(); }
  Ticket reduce_scatter(Tensor, Tensor, ReduceOp, Stream) override { return unexpected(); }
  Ticket all_gather(Tensor, Tensor, Stream) override { return unexpected(); }
  Ticket all_to_all(Tensor, Tensor, Stream) override { return unexpected(); }
  Ticket broadcast(Tensor, int, Stream) override { return unexpected(); }
  Ticket send(Tensor, int, Stream) override { return unexpected(); }
  Ticket receive(Tensor, int, Stream) override { return unexpected(); }
  void barrier() override { unexpected(); }
  std::unique_ptr<Communicator> split(int, int, std::string) override { return nullptr; }
  Traffic traffic() const override { return {}; }

 private:
  static Ticket unexpected() {
    ADD_FAILURE() << "a reducer has no use for this";
    return 0;
  }
  std::string name_ = "recording";
};

class GradientReducerTest : public testing::Test {
 protected:
  // Sizes of 16 elements or multiples, so that offsets have no gaps unless a test wants them.
  void make_parameters(const std::vector<std::int64_t>& sizes) {
    for (std::size_t i = 0; i < sizes.size(); ++i)
      parameters_.add(std::string("p").append(std::to_string(i)), {sizes[i]}, Initializer::constant(0.0F),
                      false);
    parameters_.allocate();
    std::fill_n(parameters_.gradients().data<float>(), parameters_.num_elements(), 1.0F);
  }
  const Parameter& parameter(int i) const { return parameters_.parameters()[static_cast<std::size_t>(i)]; }
  // Every gradient was reduced exactly once.
  bool all_doubled() const {
    const float* gradients = parameters_.gradients().data<float>();
    return std::all_of(gradients, gradients + parameters_.num_elements(), [](float g) { return g == 2.0F; });
  }
  std::vector<std::int64_t> reduced_sizes() const {
    std::vector<std::int64_t> sizes;
    for (const auto& reduction : communicator_.reductions) sizes.push_back(reduction.size);
    return sizes;
  }

  ParameterBuffer parameters_;
  RecordingCommunicator communicator_;
};

using Sizes = std::vector<std::int64_t>;

TEST_F(GradientReducerTest, CutsBucketsFromTheEnd) {
  make_parameters({64, 32, 32, 48, 16});
  GradientReducer reducer(parameters_, communicator_, 64 * sizeof(float));
  EXPECT_EQ(reducer.num_buckets(), 3);
  reducer.begin(true);
  for (int i = 4; i >= 0; --i) reducer.mark_ready(parameter(i), {});
  reducer.finish({});
  EXPECT_EQ(reduced_sizes(), (Sizes{64, 64, 64}));
  EXPECT_EQ(communicator_.reductions[0].begin, parameter(3).gradient.data<float>());
  EXPECT_EQ(communicator_.reductions[2].begin, parameter(0).gradient.data<float>());
  EXPECT_TRUE(all_doubled());
}

TEST_F(GradientReducerTest, ParameterLargerThanABucketIsABucket) {
  make_parameters({16, 4096, 16, 16});
  GradientReducer reducer(parameters_, communicator_, 64 * sizeof(float));
  reducer.begin(true);
  for (int i = 3; i >= 0; --i) reducer.mark_ready(parameter(i), {});
  reducer.finish({});
  EXPECT_EQ(reduced_sizes(), (Sizes{32, 4096, 16}));
  EXPECT_TRUE(all_doubled());
}

TEST_F(GradientReducerTest, BucketsCoverAlignmentGaps) {
  make_parameters({1, 17, 5});  // 16 + 32 + 16 elements with gaps
  GradientReducer reducer(parameters_, communicator_, 1);
  EXPECT_EQ(reducer.num_buckets(), 3);
  reducer.begin(true);
  for (int i = 2; i >= 0; --i) reducer.mark_ready(parameter(i), {});
  reducer.finish({});
  EXPECT_EQ(reduced_sizes(), (Sizes{16, 32, 16}));
  EXPECT_TRUE(all_doubled());
}

TEST_F(GradientReducerTest, StartsABucketAsSoonAsItIsFull) {
  make_parameters({16, 16, 16, 16});
  GradientReducer reducer(parameters_, communicator_, 32 * sizeof(float));
  reducer.begin(true);
  reducer.mark_ready(parameter(3), {});
  EXPECT_EQ(communicator_.reductions.size(), 0U);
  reducer.mark_ready(parameter(2), {});
  EXPECT_EQ(communicator_.reductions.size(), 1U);
  reducer.mark_ready(parameter(1), {});
  EXPECT_EQ(communicator_.reductions.size(), 1U);
  reducer.mark_ready(parameter(0), {});
  EXPECT_EQ(communicator_.reductions.size(), 2U);
  EXPECT_EQ(communicator_.waited_for, 0U);
  reducer.finish({});
  EXPECT_EQ(communicator_.waited_for, 2U);
}

TEST_F(GradientReducerTest, BucketsStartInOneOrderWhateverTheOrderOfMarks) {
  make_parameters({16, 16, 16, 16, 16, 16});
  GradientReducer reducer(parameters_, communicator_, 32 * sizeof(float));
  std::vector<int> order(6);
  std::iota(order.begin(), order.end(), 0);
  do {
    communicator_.reductions.clear();
    reducer.begin(true);
    for (const int i : order) reducer.mark_ready(parameter(i), {});
    reducer.finish({});
    ASSERT_EQ(communicator_.reductions.size(), 3U);
    for (int bucket = 0; bucket < 3; ++bucket) {
      ASSERT_EQ(communicator_.reductions[static_cast<std::size_t>(bucket)].begin,
                parameter(4 - 2 * bucket).gradient.data<float>());
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(GradientReducerTest, OnlyMarksOfTheLastMicrobatchCount) {
  make_parameters({16, 16});
  GradientReducer reducer(parameters_, communicator_, 1);
  for (int step = 0; step < 2; ++step) {
    for (int microbatch = 0; microbatch < 3; ++microbatch) {
      reducer.begin(microbatch == 2);
      EXPECT_EQ(communicator_.reductions.size(), static_cast<std::size_t>(2 * step));
      for (int i = 1; i >= 0; --i) reducer.mark_ready(parameter(i), {});
    }
    reducer.finish({});
    EXPECT_EQ(communicator_.reductions.size(), static_cast<std::size_t>(2 * step + 2));
  }
}

TEST_F(GradientReducerTest, MissingAndRepeatedMarksDieByName) {
  make_parameters({16, 16});
  GradientReducer reducer(parameters_, communicator_, 1);
  reducer.begin(true);
  reducer.mark_ready(parameter(1), {});
  EXPECT_DEATH(reducer.mark_ready(parameter(1), {}), "p1 is marked ready twice");
  EXPECT_DEATH(reducer.finish({}), "p0 was not marked ready");
}

TEST_F(GradientReducerTest, MarksBeforeTheLastUseDoNotCount) {
  make_parameters({16, 16});
  GradientReducer reducer(parameters_, communicator_, 1);
  reducer.begin(true);
  for (const bool more_to_come : {true, false}) {
    reducer.expect_more(more_to_come);
    for (const int i : {1, 0}) reducer.mark_ready(parameter(i), {});
  }
  reducer.finish({});
  reducer.begin(true);
  reducer.expect_more(true);
  reducer.mark_ready(parameter(1), {});
  EXPECT_DEATH(reducer.finish({}), "p0 was not marked ready");
}

// With the real communicator: every rank marks in an order of its own.
TEST(GradientReducerOverRanks, SumsWhileBackwardRuns) {
  Communicator& world = test_process().world();
  ParameterBuffer parameters;
  for (int i = 0; i < 12; ++i)
    parameters.add(std::string("p").append(std::to_string(i)), {1 + 30011 * i}, Initializer::constant(0.0F),
                   false);
  parameters.allocate();
  GradientReducer reducer(parameters, world, 500'000);
  ASSERT_GT(reducer.num_buckets(), 3);
  for (int step = 0; step < 3; ++step) {
    std::vector<int> order(parameters.parameters().size());
    std::iota(order.rbegin(), order.rend(), 0);
    std::swap(order[static_cast<std::size_t>(world.rank())], order[5]);
    reducer.begin(true);
    for (const int i : order) {
      const Parameter& parameter = parameters.parameters()[static_cast<std::size_t>(i)];
      auto* gradient = parameter.gradient.data<float>();
      for (std::int64_t j = 0; j < parameter.gradient.num_elements(); ++j)
        gradient[j] = static_cast<float>((i + 1) * (world.rank() + 1) + j % 7 + step);
      reducer.mark_ready(parameter, {});
    }
    reducer.finish({});
    const int size = world.size();
    for (const Parameter& parameter : parameters.parameters()) {
      const auto* gradient = parameter.gradient.data<float>();
      for (std::int64_t j = 0; j < parameter.gradient.num_elements(); ++j) {
        const auto expected = (parameter.index + 1) * size * (size + 1) / 2 + size * (j % 7 + step);
        ASSERT_EQ(gradient[j], static_cast<float>(expected)) << parameter.name << " " << j;
      }
    }
  }
}

// Two groups have parts of sums in one bucket, which overlap; an element that both have is summed over both.
TEST(GradientReducerOverRanks, SumsPartsOverTheirGroupsAndOneRankOwnsEach) {
  Communicator& world = test_process().world();
  const auto pairs = world.split(world.rank() / 2, world.rank(), "pairs");
  const auto all = world.split(0, world.rank(), "all");
  RecordingCommunicator data;
  ParameterBuffer parameters;
  Parameter& mixed = parameters.add("mixed", {32}, Initializer::constant(0.0F), false);
  mixed.replicas = {{.group = all.get(), .elements = {4, 24}, .is_partial = true},
                    {.group = pairs.get(), .elements = {2, 8}, .is_partial = true}};
  parameters.add("own", {16}, Initializer::constant(0.0F), false);
  parameters.allocate();
  GradientReducer reducer(parameters, data, 1 << 20);
  ASSERT_EQ(reducer.num_buckets(), 1);
  std::fill_n(parameters.gradients().data<float>(), parameters.num_elements(), 1.0F);
  reducer.begin(true);
  for (const int i : {1, 0}) reducer.mark_ready(parameters.parameters()[static_cast<std::size_t>(i)], {});
  reducer.finish({});
  std::vector<bool> is_owned(48, false);
  for (const FlatRange& range : counted_ranges(parameters, {{0, parameters.num_elements()}}))
    std::fill(is_owned.begin() + range.begin, is_owned.begin() + range.end, true);
  for (int i = 0; i < 48; ++i) {
    const bool of_all = i >= 4 && i < 24, of_pair = i >= 2 && i < 8;
    if (!(of_all && of_pair && world.size() % 2 != 0)) {  // or pairs differ in size
      EXPECT_EQ(parameters.gradients().data<float>()[i],
                2.0F * static_cast<float>((of_all ? world.size() : 1) * (of_pair ? pairs->size() : 1)))
          << i;
    }
    EXPECT_EQ(is_owned[static_cast<std::size_t>(i)],
              !(of_all && all->rank() > 0) && !(of_pair && pairs->rank() > 0))
        << i;
  }
}

// A look at memory that still belongs to the communicator, which nobody but a test may take.
__attribute__((no_sanitize("thread"))) float peek(const volatile float* value) {
  return *value;
}

// What was started goes on without this thread's help.
TEST(GradientReducerOverRanks, ReductionsEndWhileTheMainThreadIsBusy) {
  Communicator& world = test_process().world();
  ParameterBuffer parameters;
  parameters.add("first", {100}, Initializer::constant(0.0F), false);
  parameters.add("second", {1'000'000}, Initializer::constant(0.0F), false);
  parameters.allocate();
  std::fill_n(parameters.gradients().data<float>(), parameters.num_elements(), 1.0F);
  GradientReducer reducer(parameters, world, 1);
  reducer.begin(true);
  reducer.mark_ready(parameters.parameters()[1], {});
  // Calls no communicator.  How long the sum takes depends on the machine; that it comes does not.
  const float* last = parameters.parameters()[1].gradient.data<float>() + 999'999;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (peek(last) != static_cast<float>(world.size()) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(peek(last), static_cast<float>(world.size()));
  reducer.mark_ready(parameters.parameters()[0], {});
  reducer.finish({});
}

}  // namespace
}  // namespace trireme
