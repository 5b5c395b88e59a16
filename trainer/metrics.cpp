#include "trainer/metrics.h"

#include <cmath>
#include <deque>
#include <filesystem>
#include <iostream>
#include <optional>
#include <vector>

#include "trainer/append_file.h"
#include "trainer/metrics_file.h"
#include "trainer/progress.h"
#include "trainer/readable.h"
#include "trainer/tensorboard.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

struct EarlierAttempts {
  bool any = false;
  std::int64_t last_step = 0;
  std::int64_t last_validation = -1;  // step of it, of those that stay
  double elapsed_s = 0;
};

// Reads what there is and drops what is done again.
EarlierAttempts take_over(const fs::path& path, std::int64_t start_step) {
  if (!fs::exists(path)) return {};
  const MetricsHistory history = read_metrics(path);
  EarlierAttempts earlier{
      .any = !history.attempts.empty(), .last_step = history.last_step(), .elapsed_s = history.elapsed_s()};
  for (const auto& validation : history.validations) {
    if (validation.step <= start_step) earlier.last_validation = validation.step;
  }
  drop_metrics_after(path, start_step);
  return earlier;
}

}  // namespace

struct MetricsLog::Impl {
  Impl(const fs::path& run, std::int64_t start)
      : start_step(start),
        tensorboard((run / "tensorboard").string(), start),
        earlier(take_over(run / "metrics.jsonl", start)),
        lines((run / "metrics.jsonl").string()),
        progress(std::cout, terminal_columns()) {}

  // An attempt that does nothing, since the run is done, leaves no trace.
  void begin_attempt() {
    if (begun) return;
    begun = true;
    const std::int64_t repeated = std::max<std::int64_t>(0, earlier.last_step - start_step);
    lines.append(metrics_line(AttemptMetrics{start_step, repeated, earlier.elapsed_s}));
  }

  std::int64_t start_step;
  TensorboardWriter tensorboard;  // first: makes the folder of the run
  EarlierAttempts earlier;
  AppendFile lines;
  Progress progress;
  bool begun = false;
};

MetricsLog::MetricsLog(const std::string& run_directory, std::int64_t start_step)
    : impl_(std::make_unique<Impl>(run_directory, start_step)) {}

MetricsLog::~MetricsLog() = default;

void MetricsLog::train_step(const StepMetrics& metrics) {
  impl_->begin_attempt();
  StepMetrics total = metrics;
  total.elapsed_s += impl_->earlier.elapsed_s;
  impl_->lines.append(metrics_line(total));
  std::vector<TensorboardScalar> scalars = {
      {"train/loss", metrics.loss},
      {"train/learning_rate", metrics.learning_rate},
      {"train/grad_norm", metrics.grad_norm},
      {"speed/tokens_per_second", metrics.tokens_per_second},
      {"speed/share_of_peak", metrics.share_of_peak},
      {"speed/data_wait", metrics.data_wait},
  };
  if (metrics.objective) scalars.push_back({"train/objective", *metrics.objective});
  if (metrics.bubble) {
    scalars.push_back({"pipeline/bubble", metrics.bubble->measured});
    scalars.push_back({"pipeline/bubble_forecast", metrics.bubble->forecast});
  }
  std::deque<std::string> tags;  // what the scalars' are views of
  for (const AxisTraffic& axis : metrics.traffic) {
    const auto add = [&](const char* name, double value) {
      tags.push_back("communication/" + axis.axis + "_" + name);
      scalars.push_back({tags.back(), value});
    };
    add("bytes_per_step", axis.bytes_per_step);
    add("busy_s", axis.busy_s);
    add("hidden", axis.hidden);
  }
  impl_->tensorboard.add(metrics.step, scalars);
  impl_->progress.step(metrics);
}

void MetricsLog::validation(std::int64_t step, const Validation& found) {
  impl_->progress.note("step " + std::to_string(step) + "  validation loss " +
                       readable_number(found.loss, 5) + "  perplexity " +
                       readable_number(std::exp(found.loss), 4) +
                       (found.bleu ? "  BLEU " + readable_number(*found.bleu, 4) : "") +
                       (found.accuracy ? "  accuracy " + readable_number(*found.accuracy, 4) : "") +
                       (found.mean_loops ? "  loops " + readable_number(*found.mean_loops, 3) : ""));
  if (step <= impl_->earlier.last_validation) return;  // an earlier attempt has logged it, and saved after it
  impl_->lines.append(metrics_line(ValidationMetrics{step, found}));
  std::vector<TensorboardScalar> scalars = {{"validation/loss", found.loss},
                                            {"validation/perplexity", std::exp(found.loss)}};
  if (found.bleu) scalars.push_back({"validation/bleu", *found.bleu});
  if (found.accuracy) scalars.push_back({"validation/accuracy", *found.accuracy});
  if (found.mean_loops) scalars.push_back({"validation/mean_loops", *found.mean_loops});
  std::deque<std::string> tags;  // what the scalars' are views of
  for (std::size_t kind = 0; kind < kNumAttentionKinds; ++kind) {
    const auto& layers = found.attention_entropies.layers[kind];
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      for (std::size_t head = 0; head < layers[layer].size(); ++head) {
        tags.push_back("attention_entropy/" + std::string(kAttentionKindNames[kind]) + "_layer_" +
                       std::to_string(layer) + "_head_" + std::to_string(head));
        scalars.push_back({tags.back(), layers[layer][head]});
      }
    }
  }
  impl_->tensorboard.add(step, scalars);
}

void MetricsLog::note(const std::string& text) {
  impl_->progress.note(text);
}

}  // namespace trireme
