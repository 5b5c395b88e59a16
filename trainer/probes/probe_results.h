// What probes have found: OUTPUT/results.jsonl, and the table of it.
//
//     {"task": "copy", "model": "rope", "steps": 1500, "seed": 0, "parameters": 379264, "seconds": 71.3,
//      "scores": [{"length": 10, "questions": 1000, "exact": 1000}, ...]}                 one line a cell
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace trireme {

struct ProbeScore {
  std::int64_t length = 0;
  std::int64_t questions = 0;  // asked
  std::int64_t exact = 0;      // answered without a mistake, the end included
};

struct ProbeResult {
  std::string task;
  std::string model;
  std::int64_t steps = 0;
  std::int64_t seed = 0;
  std::int64_t parameters = 0;
  double seconds = 0.0;            // of training
  std::vector<ProbeScore> scores;  // by length, ascending
};

// With the line's end.
std::string probe_line(const ProbeResult& result);

// In the order of the lines; none if there is no file.  Throws UserError for a line that can't be read.
std::vector<ProbeResult> read_probe_results(const std::filesystem::path& path);

// Exact answers in percent, by task, model and length, as Markdown.  A cell has its questions beside it
// where they are fewer than the most that were asked.
std::string probe_table(const std::vector<ProbeResult>& results);

}  // namespace trireme
