#include "data/probes/probe.h"

#include <algorithm>
#include <set>

#include <glog/logging.h>

#include "data/checksum.h"
#include "data/pair_shard_writer.h"
#include "data/prepare.h"
#include "data/random.h"
#include "data/tokenizer/byte.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::int64_t kValidationPairs = 256;
constexpr std::int64_t kShardTokens = std::int64_t{1} << 25;
// In a row that may be none of those looked for, before there are none left.
constexpr int kMostTries = 2000;

// Numbers of one stream, one after another.
class Draw {
 public:
  Draw(std::uint64_t seed, std::string_view stream) : key_(random_at(seed, checksum_of(stream))) {}

  // From 0 to bound - 1.
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_at(key_, place_++) % static_cast<std::uint64_t>(bound));
  }
  std::string symbols(char first, std::int64_t kinds, std::int64_t count) {
    std::string text;
    for (std::int64_t i = 0; i < count; ++i) text += static_cast<char>(first + below(kinds));
    return text;
  }

 private:
  std::uint64_t key_;
  std::uint64_t place_ = 0;
};

std::string draw_source(ProbeTask task, std::int64_t length, Draw& draw) {
  switch (task) {
    case ProbeTask::kCopy:
    case ProbeTask::kReverse:
    case ProbeTask::kSort:
      return draw.symbols('a', 26, length);
    case ProbeTask::kAddition:
      return draw.symbols('0', 10, length) + "+" + draw.symbols('0', 10, length);
    case ProbeTask::kParity:
    case ProbeTask::kRunningParity:
      return draw.symbols('0', 2, length);
  }
  LOG(FATAL) << "no such task";
}

std::string sum_of_digits(std::string_view a, std::string_view b) {
  CHECK_EQ(a.size(), b.size());
  std::string sum;
  int carry = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const int column = (a[i] - '0') + (b[i] - '0') + carry;
    sum += static_cast<char>('0' + column % 10);
    carry = column / 10;
  }
  return sum + static_cast<char>('0' + carry);
}

bool is_held_out(const ProbeData& data, std::string_view source) {
  return uniform_at(data.seed, checksum_of(source)) < 0.25;
}

std::string draw_training_source(const ProbeData& data, Draw& draw) {
  const std::int64_t length = 1 + draw.below(data.length);
  for (int tries = 0; tries < kMostTries; ++tries) {
    std::string source = draw_source(data.task, length, draw);
    if (length < data.length || !is_held_out(data, source)) return source;
  }
  throw UserError(data.name(), "all strings of the trained length are held out",
                  "choose a larger --length, or another --seed");
}

}  // namespace

std::string ProbeData::name() const {
  return std::string(name_of(task)) + "_length" + std::to_string(length) + "_pairs" +
         std::to_string(training_pairs) + "_seed" + std::to_string(seed);
}

std::int64_t probe_source_size(ProbeTask task, std::int64_t length) {
  return task == ProbeTask::kAddition ? 2 * length + 1 : length;
}

std::string probe_answer(ProbeTask task, std::string_view source) {
  std::string answer(source);
  switch (task) {
    case ProbeTask::kCopy:
      return answer;
    case ProbeTask::kReverse:
      std::reverse(answer.begin(), answer.end());
      return answer;
    case ProbeTask::kSort:
      std::sort(answer.begin(), answer.end());
      return answer;
    case ProbeTask::kAddition: {
      const std::size_t plus = source.find('+');
      CHECK_NE(plus, std::string_view::npos) << source;
      return sum_of_digits(source.substr(0, plus), source.substr(plus + 1));
    }
    case ProbeTask::kParity:
      return std::count(source.begin(), source.end(), '1') % 2 == 0 ? "0" : "1";
    case ProbeTask::kRunningParity: {
      bool odd = false;
      for (char& digit : answer) digit = (odd ^= digit == '1') ? '1' : '0';
      return answer;
    }
  }
  LOG(FATAL) << "no such task";
}

std::vector<ProbePair> probe_tests(const ProbeData& data, std::int64_t length, std::int64_t count) {
  CHECK_GE(length, data.length);
  Draw draw(data.seed, "tests of length " + std::to_string(length));
  std::vector<ProbePair> tests;
  std::set<std::string> drawn;
  for (int tries = 0; static_cast<std::int64_t>(tests.size()) < count && tries < kMostTries; ++tries) {
    std::string source = draw_source(data.task, length, draw);
    if (length == data.length && !is_held_out(data, source)) continue;
    if (!drawn.insert(source).second) continue;
    std::string target = probe_answer(data.task, source);
    tests.push_back({.source = std::move(source), .target = std::move(target)});
    tries = 0;
  }
  return tests;
}

void write_probe_data(const ProbeData& data, const std::filesystem::path& folder) {
  CHECK_GE(data.length, ProbeData::kLeastLength);
  ByteTokenizer tokenizer;
  StagingFolder staging(folder);
  const auto writer_of = [&](const char* split) {
    return PairShardWriter({.folder = staging.path(),
                            .split = split,
                            .tokenizer = tokenizer.identity(),
                            .vocab_size = tokenizer.vocab_size(),
                            .shard_tokens = kShardTokens});
  };
  std::vector<std::int32_t> source_tokens, target_tokens;
  const auto add = [&](PairShardWriter& writer, std::string_view source, std::string_view target) {
    source_tokens.clear();
    target_tokens.clear();
    tokenizer.encode(source, source_tokens);
    tokenizer.encode(target, target_tokens);
    writer.add(source_tokens, target_tokens);
    writer.count_bytes(static_cast<std::int64_t>(source.size() + target.size()));
  };
  PairShardWriter train = writer_of(kTrainSplit);
  Draw draw(data.seed, "training");
  for (std::int64_t i = 0; i < data.training_pairs; ++i) {
    const std::string source = draw_training_source(data, draw);
    add(train, source, probe_answer(data.task, source));
  }
  PairShardWriter validation = writer_of(kValidationSplit);
  const auto tests = probe_tests(data, data.length, kValidationPairs);
  if (tests.empty()) {
    throw UserError(data.name(), "no string of the trained length is held out",
                    "choose a larger --length, or another --seed");
  }
  for (const ProbePair& test : tests) add(validation, test.source, test.target);
  Manifest manifest;
  manifest.content = Content::kPairs;
  manifest.splits[kTrainSplit] = train.finish();
  manifest.splits[kValidationSplit] = validation.finish();
  publish_data_set(manifest, tokenizer, staging, /*replace=*/false);
}

}  // namespace trireme
