// The tasks of `trireme probe`: right answers, the same each time, and no test among what is trained on.
#include "data/probes/probe.h"

#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "data/pair_dataset.h"
#include "data/user_error.h"
#include "tests/data/prepared_pairs.h"

namespace trireme {
namespace {

constexpr ProbeTask kTasks[] = {ProbeTask::kCopy,     ProbeTask::kReverse, ProbeTask::kSort,
                                ProbeTask::kAddition, ProbeTask::kParity,  ProbeTask::kRunningParity};

ProbeData small(ProbeTask task, std::uint64_t seed = 3) {
  return {.task = task, .length = 6, .training_pairs = 3000, .seed = seed};
}

// A number of at most 18 digits, lowest first.
std::int64_t number(std::string digits) {
  std::reverse(digits.begin(), digits.end());
  return std::stoll(digits);
}

TEST(Probe, AnswersAreRight) {
  EXPECT_EQ(probe_answer(ProbeTask::kCopy, "trireme"), "trireme");
  EXPECT_EQ(probe_answer(ProbeTask::kReverse, "trireme"), "emerirt");
  EXPECT_EQ(probe_answer(ProbeTask::kSort, "trireme"), "eeimrrt");
  EXPECT_EQ(probe_answer(ProbeTask::kParity, "10110"), "1");
  EXPECT_EQ(probe_answer(ProbeTask::kParity, "0110"), "0");
  EXPECT_EQ(probe_answer(ProbeTask::kRunningParity, "0110100"), "0100111");
  EXPECT_EQ(probe_answer(ProbeTask::kAddition, "999+100"), "0001");  // 999 + 1
  EXPECT_EQ(probe_answer(ProbeTask::kAddition, "120+340"), "4600");  // 21 + 43
  for (const ProbePair& test : probe_tests(small(ProbeTask::kAddition), 17, 200)) {
    const std::size_t plus = test.source.find('+');
    EXPECT_EQ(number(test.target), number(test.source.substr(0, plus)) + number(test.source.substr(plus + 1)))
        << test.source;
    EXPECT_EQ(test.target.size(), 18u);
  }
}

TEST(Probe, TestsAreDifferentAndOfOneLength) {
  for (const ProbeTask task : kTasks) {
    for (const std::int64_t length : {6, 12, 24}) {
      const auto tests = probe_tests(small(task), length, 200);
      const bool is_bits = task == ProbeTask::kParity || task == ProbeTask::kRunningParity;
      const std::size_t expected = is_bits && length == 6 ? 0 : 200;
      EXPECT_GE(tests.size(), std::max<std::size_t>(expected, 5));
      std::set<std::string> sources;
      for (const ProbePair& test : tests) {
        EXPECT_TRUE(sources.insert(test.source).second) << test.source;
        EXPECT_EQ(static_cast<std::int64_t>(test.source.size()), probe_source_size(task, length));
        EXPECT_EQ(test.target, probe_answer(task, test.source));
      }
    }
  }
}

// Also in parity, where all 64 strings are drawn hundreds of times.
TEST(Probe, NothingHeldOutIsTrainedOn) {
  for (const ProbeTask task : kTasks) {
    const TempDir dir;
    write_probe_data(small(task), dir / "data");
    PairDataset train(dir / "data", kTrainSplit);
    PairDataset validation(dir / "data", kValidationSplit);
    ASSERT_EQ(train.num_pairs(), 3000);
    std::set<std::string> trained;
    std::map<std::size_t, int> of_length;
    for (const auto& [source, target] : pairs_of(train)) {
      EXPECT_EQ(target, probe_answer(task, source));
      trained.insert(source);
      ++of_length[source.size()];
    }
    ASSERT_EQ(of_length.size(), 6u);
    for (std::int64_t length = 1; length <= 6; ++length) {
      EXPECT_NEAR(of_length[static_cast<std::size_t>(probe_source_size(task, length))], 500, 100) << length;
    }
    for (const std::int64_t length : {6, 12, 24}) {
      for (const ProbePair& test : probe_tests(small(task), length, 1000))
        EXPECT_FALSE(trained.contains(test.source)) << test.source;
    }
    EXPECT_GT(validation.num_pairs(), 0);
    for (const auto& [source, target] : pairs_of(validation)) EXPECT_FALSE(trained.contains(source));
    if (task == ProbeTask::kParity) {
      std::int64_t longest = 0;
      for (const std::string& source : trained) longest += source.size() == 6 ? 1 : 0;
      EXPECT_EQ(longest + static_cast<std::int64_t>(probe_tests(small(task), 6, 1000).size()), 64);
    }
  }
}

TEST(Probe, DependsOnTheSeedAlone) {
  const TempDir dir;
  const auto id_of = [&](const std::string& name, const ProbeData& data) {
    write_probe_data(data, dir / name);
    return PairDataset(dir / name, kTrainSplit).id();
  };
  const std::string id = id_of("once", small(ProbeTask::kSort));
  EXPECT_EQ(id, id_of("again", small(ProbeTask::kSort)));
  EXPECT_NE(id, id_of("other", small(ProbeTask::kSort, 4)));
  EXPECT_NE(small(ProbeTask::kSort, 4).name(), small(ProbeTask::kSort).name());
  EXPECT_THROW(write_probe_data(small(ProbeTask::kSort), dir / "once"), UserError);
}

}  // namespace
}  // namespace trireme
