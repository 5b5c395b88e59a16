#include "parallel/pipeline_forecast.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <glog/logging.h>

namespace trireme {
namespace {

using Kind = PipelineAction::Kind;
using Entry = PipelineForecast::Entry;

double cost_of(const PipelineCosts& costs, Kind kind) {
  switch (kind) {
    case Kind::kForward:
      return costs.forward;
    case Kind::kBackward:
      return costs.backward_input + costs.backward_weights;
    case Kind::kBackwardInput:
      return costs.backward_input;
    case Kind::kBackwardWeights:
      return costs.backward_weights;
  }
  return 0.0;
}

class Run {
 public:
  Run(const PipelineShape& shape, const PipelineSchedules& schedules, std::span<const PipelineCosts> costs)
      : shape_(shape), schedules_(schedules), costs_(costs) {
    const auto num_parts = static_cast<std::size_t>(shape.num_stages * shape.num_chunks);
    CHECK_EQ(schedules.size(), static_cast<std::size_t>(shape.num_stages));
    CHECK(costs.size() == 1 || costs.size() == num_parts)
        << costs.size() << " costs of " << num_parts << " parts";
    arrivals_.resize(2 * num_parts * static_cast<std::size_t>(shape.num_microbatches));
    result_.stages.resize(schedules.size());
  }

  std::optional<PipelineForecast> to_the_end() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (int stage = 0; stage < shape_.num_stages; ++stage) {
        while (do_next(stage)) moved = true;
      }
    }
    for (std::size_t stage = 0; stage < schedules_.size(); ++stage) {
      if (result_.stages[stage].size() < schedules_[stage].size()) return std::nullopt;
    }
    sum_up();
    return std::move(result_);
  }

 private:
  std::size_t part_of(int stage, int chunk) const {
    return static_cast<std::size_t>(chunk * shape_.num_stages + stage);
  }
  // When a part can start with what it is sent, an activation or a gradient; nothing while it hasn't been
  // sent.
  std::optional<double>& arrival(int stage, int chunk, const PipelineAction& action) {
    const std::size_t kind = action.kind == Kind::kForward ? 0 : 1;
    const auto microbatches = static_cast<std::size_t>(shape_.num_microbatches);
    return arrivals_[(2 * part_of(stage, chunk) + kind) * microbatches +
                     static_cast<std::size_t>(action.microbatch)];
  }

  // The stage's next action, if there is one and its input is there.
  bool do_next(int stage) {
    auto& done = result_.stages[static_cast<std::size_t>(stage)];
    const auto& schedule = schedules_[static_cast<std::size_t>(stage)];
    if (done.size() == schedule.size()) return false;
    const PipelineAction& action = schedule[done.size()];
    double begin = done.empty() ? 0.0 : done.back().end;
    if (source_of(shape_, stage, action)) {
      const std::optional<double> arrived = arrival(stage, action.chunk, action);
      if (!arrived) return false;
      begin = std::max(begin, *arrived);
    }
    const PipelineCosts& costs = costs_[costs_.size() == 1 ? 0 : part_of(stage, action.chunk)];
    done.push_back({action, begin, begin + cost_of(costs, action.kind)});
    if (const auto to = destination_of(shape_, stage, action)) {
      arrival(to->stage, to->chunk, action) = done.back().end;
    }
    return true;
  }

  void sum_up() {
    double busy = 0.0;
    for (const auto& stage : result_.stages) {
      int held = 0;
      int most = 0;
      for (const Entry& entry : stage) {
        busy += entry.end - entry.begin;
        result_.makespan = std::max(result_.makespan, entry.end);
        if (entry.action.kind == Kind::kForward) most = std::max(most, ++held);
        if (entry.action.kind == Kind::kBackward || entry.action.kind == Kind::kBackwardWeights) --held;
      }
      result_.max_activations.push_back(most);
    }
    result_.bubble = 1.0 - busy / (result_.makespan * shape_.num_stages);
  }

  const PipelineShape& shape_;
  const PipelineSchedules& schedules_;
  std::span<const PipelineCosts> costs_;
  std::vector<std::optional<double>> arrivals_;
  PipelineForecast result_;
};

std::string label_of(const PipelineAction& action, bool has_chunks) {
  const char letter = action.kind == Kind::kForward ? 'F' : action.kind == Kind::kBackwardWeights ? 'W' : 'B';
  std::string label = letter + std::to_string(action.microbatch);
  if (has_chunks) label += static_cast<char>('a' + action.chunk % 26);
  return label;
}

}  // namespace

PipelineSchedules pipeline_schedules(const PipelineShape& shape) {
  PipelineSchedules schedules;
  for (int stage = 0; stage < shape.num_stages; ++stage) schedules.push_back(pipeline_schedule(shape, stage));
  return schedules;
}

std::optional<PipelineForecast> forecast(const PipelineShape& shape, const PipelineSchedules& schedules,
                                         std::span<const PipelineCosts> costs) {
  return Run(shape, schedules, costs).to_the_end();
}

std::string timeline(const PipelineForecast& forecast, double unit) {
  bool has_chunks = false;
  std::size_t width = 0;
  for (const auto& stage : forecast.stages) {
    for (const Entry& entry : stage) has_chunks |= entry.action.chunk > 0;
  }
  for (const auto& stage : forecast.stages) {
    for (const Entry& entry : stage) width = std::max(width, label_of(entry.action, has_chunks).size());
  }
  const auto cell_of = [&](double time) { return static_cast<std::int64_t>(std::llround(time / unit)); };
  std::string text;
  for (const auto& stage : forecast.stages) {
    std::string line;
    const auto fill_to = [&](std::int64_t cell, const std::string& with) {
      while (std::ssize(line) < cell * static_cast<std::int64_t>(width + 1))
        line += with + std::string(width + 1 - with.size(), ' ');
    };
    for (const Entry& entry : stage) {
      fill_to(cell_of(entry.begin), ".");
      fill_to(cell_of(entry.begin) + 1, label_of(entry.action, has_chunks));
      fill_to(cell_of(entry.end), "-");
    }
    fill_to(cell_of(forecast.makespan), ".");
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace trireme
