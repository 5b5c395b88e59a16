// What a schedule will take: run on paper, with given costs, before any rank runs it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/pipeline_schedule.h"

namespace trireme {

// Of one microbatch in one part of the model (a chunk of a stage), in any unit of time.
struct PipelineCosts {
  double forward = 1.0;
  double backward_input = 1.0;
  double backward_weights = 1.0;
};

using PipelineSchedules = std::vector<std::vector<PipelineAction>>;  // of each stage

struct PipelineForecast {
  struct Entry {
    PipelineAction action;
    double begin = 0.0;
    double end = 0.0;
  };

  std::vector<std::vector<Entry>> stages;  // what each does, when
  std::vector<int> max_activations;        // that each holds at a time, of one microbatch in one chunk
  double makespan = 0.0;
  double bubble = 0.0;  // the share of all stages' time in which nothing is computed
};

PipelineSchedules pipeline_schedules(const PipelineShape& shape);

// Runs schedules as ranks do: an action waits for its message, whose sender doesn't wait for it.  Nothing is
// returned when stages wait for each other forever.  `costs` has an entry for each part of the model, or one
// for all.
std::optional<PipelineForecast> forecast(const PipelineShape& shape, const PipelineSchedules& schedules,
                                         std::span<const PipelineCosts> costs);

// A line per stage, a cell per `unit` of time: F, B and W with the microbatch, and a letter for the chunk if
// there are several; '-' goes on with the one before, '.' is idle.
std::string timeline(const PipelineForecast& forecast, double unit = 1.0);

}  // namespace trireme
