// Small tasks whose answers are known: what a model can learn at short lengths and still does at longer ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// A task's question of length n, and its answer:
//
//     copy      n letters           the same
//     reverse   n letters           backwards
//     sort      n letters           in alphabetical order
//     addition  a+b, n digits each  their sum, n + 1 digits; all with the lowest digit first, and zeros kept
//     parity    n of 0 and 1        1 if the ones are an odd number, else 0
//     running_parity  the same      the parity of each beginning, the shortest first: parity, step by step
enum class ProbeTask : std::uint8_t { kCopy, kReverse, kSort, kAddition, kParity, kRunningParity };
inline constexpr std::array<std::string_view, 6> kProbeTasks = {"copy",     "reverse", "sort",
                                                                "addition", "parity",  "running_parity"};
constexpr std::string_view name_of(ProbeTask task) {
  return kProbeTasks[static_cast<std::size_t>(task)];
}

struct ProbePair {
  std::string source;
  std::string target;
};

// Bytes of a question of this length; no answer is longer, but for addition's at length 1.
std::int64_t probe_source_size(ProbeTask task, std::int64_t length);
// The answer.  REQUIRES: a question of the task.
std::string probe_answer(ProbeTask task, std::string_view source);

// What is drawn from a task: all a pure function of these.  Of the strings that are as long as the trained
// length a quarter, by a hash of (seed, string), is held out: training never sees one.
struct ProbeData {
  static constexpr std::int64_t kLeastLength = 3;
  static constexpr std::int64_t kMostLength = 4096;

  ProbeTask task = ProbeTask::kCopy;
  std::int64_t length = 10;             // n, the longest that is trained on
  std::int64_t training_pairs = 50000;  // of lengths 1 to n, each as likely
  std::uint64_t seed = 0;

  // Names them in one word.
  std::string name() const;
};

// Different questions of one length, with answers: held-out ones at the trained length; longer ones were
// never trained on anyhow.  Fewer than `count` where there are not as many.  REQUIRES: length >= data.length.
std::vector<ProbePair> probe_tests(const ProbeData& data, std::int64_t length, std::int64_t count);

// A data set of pairs in bytes, as `prepare --tokenizer byte` makes them: the training pairs, and for
// validation tests of the trained length.  UserErrors are those of writing.
void write_probe_data(const ProbeData& data, const std::filesystem::path& folder);

}  // namespace trireme
