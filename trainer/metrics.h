// What a run tells while it trains: metrics.jsonl, TensorBoard events and the progress line.
//
//   RUN/metrics.jsonl   one JSON object a line, in the order of steps, each step once however often the run
//   was
//                       interrupted: what the report and other programs read
//   RUN/tensorboard/    the same curves for TensorBoard
//   standard output     one line that is rewritten in a terminal; plain lines elsewhere
//
// A disk that is full or gone never stops the training: it is logged once and lines are lost.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/pipeline_runner.h"
#include "trainer/axis_traffic.h"
#include "trainer/validation.h"

namespace trireme {

// The state of the run after an optimizer step.  Rates are means over the steps since the last call.
struct StepMetrics {
  std::int64_t step = 0;   // optimizer steps done, 1 after the first
  std::int64_t steps = 0;  // of the whole run
  // Cross-entropy in nats per token, of the global batch.  As in validation, without label smoothing; unlike
  // there, with dropout.
  double loss = 0;
  std::optional<double> objective;  // what is minimised, where it is another: with label smoothing
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
  double tokens_per_second = 0;
  double share_of_peak = 0;  // of the measured speed of light of all ranks: 0.7
  double data_wait = 0;      // share of the time spent waiting for data
  std::int64_t tokens = 0;   // trained on since step 0
  std::int64_t skipped_steps = 0;
  double elapsed_s = 0;    // since this process began to train; the log adds the time of earlier attempts
  double remaining_s = 0;  // until the last step
  std::vector<AxisTraffic> traffic;
  std::optional<PipelineBubble> bubble;  // of a pipeline
};

// Made by rank 0 alone.  Calls come in the order of steps.
class MetricsLog {
 public:
  // Goes on from `start_step` steps done (0: a new run): lines that an earlier attempt wrote about later
  // steps are dropped, since those steps are done again.  Throws UserError if the files cannot be made.
  MetricsLog(const std::string& run_directory, std::int64_t start_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void train_step(const StepMetrics& metrics);

  // What a validation found after `step` steps.
  void validation(std::int64_t step, const Validation& found);

  // A line about the run ("saved step 300") that does not collide with the progress line.  Not kept.
  void note(const std::string& text);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
