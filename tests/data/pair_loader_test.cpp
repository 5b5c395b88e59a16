#include "data/pair_loader.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/shard.h"
#include "data/tokenizer/byte.h"
#include "tests/data/prepared_pairs.h"
#include "tests/support/damage.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::int64_t kPairs = 400;

// Byte tokens; sentences of 6 to 106 bytes.
class PairLoaderTest : public testing::Test {
 protected:
  PairLoaderTest() {
    PairPrepareOptions options = table_options(dir_, "out", pairs_);
    options.common.validation_fraction = 0.0;
    options.common.shard_tokens = 5000;
    prepare_pairs_quietly(options);
  }

  static PairBatchPlan plan(std::int64_t microbatch_tokens, int rank, int num_ranks) {
    return {.batch_tokens = 1800,
            .microbatch_tokens = microbatch_tokens,
            .seed = 3,
            .rank = rank,
            .num_ranks = num_ranks};
  }

  const TempDir dir_;
  const Sentences pairs_ = made_up_pairs(kPairs, 1);
  const std::string folder_ = dir_ / "out";
};

using Samples = std::map<std::int64_t, std::pair<std::string, std::string>>;

// The sentences of one row; its padding must be as it should.
std::pair<std::string, std::string> row_of(const PairBatch& batch, std::int64_t row) {
  const auto row_in = [&](const std::vector<std::int32_t>& tokens, std::int64_t length) {
    EXPECT_EQ(static_cast<std::int64_t>(tokens.size()), batch.sequences * length);
    return std::vector<std::int32_t>(tokens.begin() + row * length, tokens.begin() + (row + 1) * length);
  };
  const auto sources = row_in(batch.sources, batch.source_length);
  const auto inputs = row_in(batch.target_inputs, batch.target_length);
  const auto outputs = row_in(batch.target_outputs, batch.target_length);
  const auto source_length = batch.source_lengths[static_cast<std::size_t>(row)];
  const auto target_length = batch.target_lengths[static_cast<std::size_t>(row)];
  const std::string source(sources.begin(), sources.begin() + source_length - 1);
  const std::string target(outputs.begin(), outputs.begin() + target_length - 1);
  for (std::size_t i = source.size(); i < sources.size(); ++i) EXPECT_EQ(sources[i], kEndOfDocument);
  EXPECT_EQ(inputs[0], kEndOfDocument);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (i + 1 < outputs.size()) {
      EXPECT_EQ(inputs[i + 1], i < target.size() ? outputs[i] : kEndOfDocument);
    }
    if (i >= target.size()) {
      EXPECT_EQ(outputs[i], i == target.size() ? kEndOfDocument : kPaddingTarget);
    }
  }
  return {source, target};
}

// What one rank consumes in `num_steps` steps.  Returns the number of pairs that all ranks consume in them.
std::int64_t collect(const std::string& folder, const PairBatchPlan& plan, std::int64_t consumed,
                     int num_steps, Samples& samples) {
  PairDataset dataset(folder, kTrainSplit);
  PairLoader loader(dataset, plan, consumed, /*prefetch=*/3);
  std::int64_t of_all_ranks = 0;
  for (int step = 0; step < num_steps; ++step) {
    std::int64_t rows = 0, source_length = 0, target_length = 0;
    for (bool ends = false; !ends;) {
      const PairBatch& batch = loader.next();
      EXPECT_GT(batch.sequences, 0);
      EXPECT_LE(batch.sequences * std::max(batch.source_length, batch.target_length), plan.microbatch_tokens);
      for (std::int64_t row = 0; row < batch.sequences; ++row)
        EXPECT_TRUE(samples.emplace(batch.first_sample + row, row_of(batch, row)).second)
            << "a sample came twice";
      // All of a step are padded alike.
      EXPECT_EQ(batch.source_length, rows == 0 ? batch.source_length : source_length);
      EXPECT_EQ(batch.target_length, rows == 0 ? batch.target_length : target_length);
      source_length = batch.source_length;
      target_length = batch.target_length;
      rows += batch.sequences;
      ends = batch.ends_step;
      if (!ends) continue;
      EXPECT_EQ(rows, rows_of_rank(batch.step_sequences, plan.rank, plan.num_ranks).size());
      of_all_ranks += batch.step_sequences;
    }
  }
  return of_all_ranks;
}

TEST_F(PairLoaderTest, AnyNumberOfRanksSeesTheSameSamplesOnce) {
  Samples expected;
  PairDataset dataset(folder_, kTrainSplit);
  int num_steps = 0;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    const PairEpoch order(dataset.lengths(), 1800, 3, epoch);
    num_steps += static_cast<int>(order.num_batches());
    for (std::int64_t batch = 0; batch < order.num_batches(); ++batch)
      for (std::size_t i = 0; i < order.pairs(batch).size(); ++i)
        expected[epoch * kPairs + order.begin(batch) + static_cast<std::int64_t>(i)] =
            pairs_[order.pairs(batch)[i]];
  }
  ASSERT_EQ(expected.size(), 3u * kPairs);
  for (const int num_ranks : {1, 2, 3, 7}) {
    for (const std::int64_t microbatch_tokens : {120, 300, 1800}) {
      Samples samples;
      for (int rank = 0; rank < num_ranks; ++rank)
        EXPECT_EQ(collect(folder_, plan(microbatch_tokens, rank, num_ranks), 0, num_steps, samples),
                  3 * kPairs);
      EXPECT_EQ(samples, expected) << num_ranks << " ranks, " << microbatch_tokens << " tokens at once";
    }
  }
}

TEST_F(PairLoaderTest, GoesOnWhereverItStopped) {
  Samples whole;
  collect(folder_, plan(500, 0, 1), 0, 50, whole);
  Samples parts;  // another number of ranks after 13 steps, and after 30
  std::int64_t consumed = 0;
  const auto go_on = [&](int num_ranks, int num_steps) {
    std::int64_t more = 0;
    for (int rank = 0; rank < num_ranks; ++rank)
      more = collect(folder_, plan(300, rank, num_ranks), consumed, num_steps, parts);
    consumed += more;
  };
  go_on(2, 13);
  go_on(3, 17);
  go_on(1, 20);
  EXPECT_GT(consumed, kPairs) << "the test goes over an epoch's end";
  EXPECT_EQ(parts, whole);
}

TEST_F(PairLoaderTest, StepsAreCountedOverAllRanks) {
  PairDataset dataset(folder_, kTrainSplit);
  const PairEpoch order(dataset.lengths(), 1800, 3, 0);
  for (int rank = 0; rank < 2; ++rank) {
    PairLoader loader(dataset, plan(300, rank, 2), 0, 1);
    for (std::int64_t step = 0; step < order.num_batches(); ++step) {
      std::int64_t sources = 0;
      std::int64_t targets = 0;
      for (const std::uint32_t pair : order.pairs(step)) {
        sources += static_cast<std::int64_t>(pairs_[pair].first.size()) + 1;
        targets += static_cast<std::int64_t>(pairs_[pair].second.size()) + 1;
      }
      for (bool ends = false; !ends;) {
        const PairBatch& batch = loader.next();
        EXPECT_EQ(batch.step_source_tokens, sources);
        EXPECT_EQ(batch.step_target_tokens, targets);
        ends = batch.ends_step;
      }
    }
  }
}

TEST_F(PairLoaderTest, StopsAtOnceWhateverItIsDoing) {
  PairDataset dataset(folder_, kTrainSplit);
  for (int used = 0; used < 20; ++used) {
    PairLoader loader(dataset, plan(500, 0, 1), 0, 1 + used % 4);
    for (int i = 0; i < used; ++i) loader.next();
    EXPECT_GE(loader.seconds_waited(), 0.0);
  }
}

TEST_F(PairLoaderTest, ErrorsOfItsThreadComeToTheCaller) {
  const std::string shard = folder_ + "/train_00001.h5";
  flip_bit(shard, Hdf5Reader(shard).array(kTokensArray).offset + 100);
  PairDataset dataset(folder_, kTrainSplit);
  PairLoader loader(dataset, plan(500, 0, 1), 0, 2);
  const auto read_on = [&] {
    for (int i = 0; i < kPairs; ++i) loader.next();
  };
  EXPECT_THAT(read_on, ThrowsUserError(AllOf(HasSubstr("train_00001.h5"), HasSubstr("corrupt"))));
  EXPECT_THAT([&] { loader.next(); }, ThrowsUserError(HasSubstr("corrupt")));  // and again
}

TEST_F(PairLoaderTest, RefusesWhatCannotBe) {
  PairDataset dataset(folder_, kTrainSplit);
  const auto refuse = [&](const PairBatchPlan& bad_plan, std::int64_t consumed, const auto& message) {
    EXPECT_THAT([&] { PairLoader(dataset, bad_plan, consumed, 1); }, ThrowsUserError(message));
  };
  refuse(plan(50, 0, 1), 0, AllOf(HasSubstr("train.microbatch_tokens: is 50"), HasSubstr("--max-tokens")));
  refuse(plan(500, 0, 16), 0,
         AllOf(HasSubstr("train.batch_tokens: is 1800"), HasSubstr("16 data-parallel ranks")));
  refuse(plan(500, 0, 401), 0, AllOf(HasSubstr("400 pairs"), HasSubstr("401 data-parallel ranks")));
  PairBatchPlan changed = plan(500, 0, 1);
  Samples samples;
  const std::int64_t consumed = collect(folder_, changed, 0, 1, samples);
  changed.batch_tokens = 2700;
  refuse(changed, consumed, AllOf(HasSubstr("train.batch_tokens: is 2700"), HasSubstr("amid an epoch")));
  PairLoader(dataset, changed, kPairs, 1);  // between two epochs it may change
}

}  // namespace
}  // namespace trireme
