#include "data/loader.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/prepared.h"
#include "tests/support/damage.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::int64_t kContext = 16;

// A data set of 313 windows of 16 tokens, in shards that end inside windows.
class LoaderTest : public testing::Test {
 protected:
  const TempDir dir_;
  const std::string folder_ = prepare_bytes(dir_, "out", made_up_prose(5280, 1), 777);

  BatchPlan plan(std::int64_t batch, std::int64_t microbatch, int rank, int num_ranks) const {
    return {.tokens_per_sequence = kContext,
            .batch_sequences = batch,
            .microbatch_sequences = microbatch,
            .seed = 3,
            .rank = rank,
            .num_ranks = num_ranks};
  }
};

TEST(RowsOfRank, CoverAllRowsOnceAndEvenly) {
  for (int num_ranks = 1; num_ranks <= 9; ++num_ranks) {
    for (std::int64_t rows = num_ranks; rows < 40; ++rows) {
      std::int64_t next = 0;
      for (int rank = 0; rank < num_ranks; ++rank) {
        const RowRange range = rows_of_rank(rows, rank, num_ranks);
        EXPECT_EQ(range.begin, next);
        EXPECT_TRUE(range.size() == rows / num_ranks || range.size() == rows / num_ranks + 1);
        next = range.end;
      }
      EXPECT_EQ(next, rows);
    }
  }
}

// What one run consumes in `num_steps` steps, by the number of the sample: its inputs and targets.
using Samples = std::map<std::int64_t, std::vector<std::int32_t>>;

void collect(const std::string& folder, const BatchPlan& plan, std::int64_t consumed, int num_steps,
             Samples& samples) {
  TokenDataset dataset(folder, kTrainSplit);
  Loader loader(dataset, plan, consumed, /*prefetch=*/3);
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < num_steps * microbatches_per_step(plan); ++i) {
    const Batch& batch = loader.next();
    ASSERT_LE(batch.sequences, plan.microbatch_sequences);
    ASSERT_EQ(batch.inputs.size(), static_cast<std::size_t>(batch.sequences * kContext));
    ASSERT_EQ(batch.targets.size(), batch.inputs.size());
    rows += batch.sequences;
    for (std::int64_t row = 0; row < batch.sequences; ++row) {
      std::vector<std::int32_t> both(batch.inputs.begin() + row * kContext,
                                     batch.inputs.begin() + (row + 1) * kContext);
      both.insert(both.end(), batch.targets.begin() + row * kContext,
                  batch.targets.begin() + (row + 1) * kContext);
      ASSERT_TRUE(samples.emplace(batch.first_sample + row, both).second) << "a sample came twice";
    }
  }
  EXPECT_EQ(rows, num_steps * rows_of_rank(plan.batch_sequences, plan.rank, plan.num_ranks).size());
}

TEST_F(LoaderTest, AnyNumberOfRanksSeesTheSameSamplesOnce) {
  TokenDataset dataset(folder_, kTrainSplit);
  const Sampler sampler(dataset.num_tokens(), kContext, 3);
  ASSERT_EQ(sampler.num_windows(), 313);
  Samples expected;
  for (std::int64_t sample = 0; sample < 640; ++sample) {  // more than two epochs
    std::vector<std::int32_t> tokens(kContext + 1);
    dataset.read(sampler.position(sample), tokens);
    std::vector<std::int32_t> both(tokens.begin(), tokens.end() - 1);
    both.insert(both.end(), tokens.begin() + 1, tokens.end());
    expected[sample] = both;
  }
  for (const int num_ranks : {1, 2, 3, 4, 7, 10}) {  // 10 rows: 3, 4 and 7 don't divide them
    for (const std::int64_t microbatch : {1, 2, 3, 10}) {
      Samples samples;
      for (int rank = 0; rank < num_ranks; ++rank)
        collect(folder_, plan(10, microbatch, rank, num_ranks), 0, 64, samples);
      EXPECT_EQ(samples, expected) << num_ranks << " ranks, microbatch " << microbatch;
    }
  }
}

TEST_F(LoaderTest, GoesOnWhereverItStopped) {
  Samples whole;
  collect(folder_, plan(10, 4, 0, 1), 0, 50, whole);
  Samples parts;  // another number of ranks after 230 samples, another batch after 350
  for (int rank = 0; rank < 2; ++rank) collect(folder_, plan(10, 4, rank, 2), 0, 23, parts);
  for (int rank = 0; rank < 3; ++rank) collect(folder_, plan(10, 4, rank, 3), 230, 12, parts);
  collect(folder_, plan(15, 4, 0, 1), 350, 10, parts);
  EXPECT_EQ(parts, whole);
}

TEST_F(LoaderTest, EveryWindowOncePerEpoch) {
  Samples samples;
  for (int rank = 0; rank < 3; ++rank) collect(folder_, plan(313, 50, rank, 3), 313 * 5, 1, samples);
  TokenDataset dataset(folder_, kTrainSplit);
  Batch in_order;
  read_windows(dataset, 0, 313, kContext, Documents::kJoined, in_order);
  std::multiset<std::vector<std::int32_t>> seen;
  std::multiset<std::vector<std::int32_t>> all;
  for (const auto& [sample, tokens] : samples) seen.insert({tokens.begin(), tokens.begin() + kContext});
  for (std::int64_t row = 0; row < 313; ++row)
    all.insert({in_order.inputs.begin() + row * kContext, in_order.inputs.begin() + (row + 1) * kContext});
  EXPECT_EQ(seen, all);
}

TEST_F(LoaderTest, WindowsAreReadInOrder) {
  TokenDataset dataset(folder_, kValidationSplit);
  std::vector<std::int32_t> tokens(4 * kContext + 1);
  dataset.read(2 * kContext, tokens);
  Batch batch;
  read_windows(dataset, 2, 4, kContext, Documents::kJoined, batch);
  EXPECT_EQ(batch.first_sample, 2);
  EXPECT_EQ(batch.inputs, std::vector<std::int32_t>(tokens.begin(), tokens.end() - 1));
  EXPECT_EQ(batch.targets, std::vector<std::int32_t>(tokens.begin() + 1, tokens.end()));
}

TEST_F(LoaderTest, StopsAtOnceWhateverItIsDoing) {
  TokenDataset dataset(folder_, kTrainSplit);
  for (int used = 0; used < 20; ++used) {
    Loader loader(dataset, plan(8, 2, 0, 1), 0, 1 + used % 4);
    for (int i = 0; i < used; ++i) loader.next();
    EXPECT_GE(loader.seconds_waited(), 0.0);
  }
}

TEST_F(LoaderTest, ErrorsOfItsThreadComeToTheCaller) {
  const std::string shard = folder_ + "/train_00003.h5";
  flip_bit(shard, Hdf5Reader(shard).array("tokens").offset + 100);
  TokenDataset dataset(folder_, kTrainSplit);
  Loader loader(dataset, plan(8, 2, 0, 1), 0, 2);
  const auto read_on = [&] {
    for (int i = 0; i < 313; ++i) loader.next();
  };
  EXPECT_THAT(read_on, ThrowsUserError(AllOf(HasSubstr("train_00003.h5"), HasSubstr("corrupt"))));
  EXPECT_THAT([&] { loader.next(); }, ThrowsUserError(HasSubstr("corrupt")));  // and again
}

TEST_F(LoaderTest, RefusesWhatCannotBe) {
  TokenDataset dataset(folder_, kTrainSplit);
  EXPECT_THAT([&] { Loader(dataset, plan(3, 1, 0, 4), 0, 1); },
              ThrowsUserError(
                  AllOf(HasSubstr("train.batch_sequences"), HasSubstr("3 sequences"), HasSubstr("4 data"))));
  BatchPlan too_long = plan(4, 1, 0, 1);
  too_long.tokens_per_sequence = dataset.num_tokens();
  EXPECT_THAT(
      [&] { Loader(dataset, too_long, 0, 1); },
      ThrowsUserError(AllOf(HasSubstr("split 'train'"), HasSubstr(std::to_string(dataset.num_tokens())),
                            HasSubstr("model.context"))));
}

}  // namespace
}  // namespace trireme
