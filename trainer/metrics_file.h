// RUN/metrics.jsonl: what stands in a line of it.
//
//   {"event": "start", "step": 40, "time": ..., "repeated_steps": 17, "elapsed_s": ...}      an attempt
//   begins
//   {"step": 50, "time": ..., "loss": ..., "learning_rate": ..., "elapsed_s": ..., ...}      training; under
//   label smoothing also "objective", which is minimised, beside "loss", which compares with validation's;
//   on several ranks also what went over each axis of the mesh in a step (see axis_traffic.h)
//                "traffic": {"dp": {"bytes_per_step": ..., "busy_s": ..., "hidden": ...}, ...}
//   and of a pipeline "bubble", the share of its stages' time in which nothing was computed, and
//   "bubble_forecast", what it would be with actions of the same mean times and messages of none
//   {"step": 50, "time": ..., "validation_loss": ..., "perplexity": ...}                     validation; of
//   translations also "bleu", of masked tokens "accuracy", under halting "mean_loops" of a position, and
//   where it is measured
//                "attention_entropy": {"decoder": [[head 0, head 1 ...] of layer 0, ...], "encoder", "cross"}
//
// `time` is in seconds since 1970, `elapsed_s` in seconds of all attempts so far.  What is not finite is
// null.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainer/metrics.h"

namespace trireme {

struct ValidationMetrics {
  std::int64_t step = 0;
  Validation found;
};

struct AttemptMetrics {
  std::int64_t start_step = 0;
  std::int64_t repeated_steps = 0;  // done before by the attempt before, after its last checkpoint
  double elapsed_s = 0;             // of earlier attempts
};

struct MetricsHistory {
  std::vector<AttemptMetrics> attempts;
  std::vector<StepMetrics> steps;  // elapsed_s counts all attempts
  std::vector<ValidationMetrics> validations;
  double last_time = 0;  // of the last line, in seconds since 1970

  // Of the attempt that wrote last; 0 if there is none.
  std::int64_t last_step() const;
  double elapsed_s() const;
};

// With the line's end.
std::string metrics_line(const AttemptMetrics& attempt);
std::string metrics_line(const StepMetrics& metrics);
std::string metrics_line(const ValidationMetrics& validation);

// Skips what is no such line: the last one of a process that was killed may be torn.  Throws UserError if the
// file cannot be read.
MetricsHistory read_metrics(const std::filesystem::path& path);

// Drops training and validation after `step`, and torn lines: the file is replaced as a whole, if need be.
void drop_metrics_after(const std::filesystem::path& path, std::int64_t step);

}  // namespace trireme
