// Whether a layout of ranks trains the same model as one rank.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/process.h"
#include "trainer/axis_traffic.h"
#include "trainer/config.h"
#include "trainer/training_engine.h"

namespace trireme {

struct LayoutCheckOptions {
  std::int64_t steps = 10;
  // Of the largest relative difference of losses, gradient norms and parameters; the first step's loss, to
  // which no rounding of earlier steps has added, is held to a hundredth of it.
  double tolerance = 1e-4;
  bool repeat = false;  // train twice, to the same bits
};

// Between the numbers that each step of a layout and of one rank gave, relative to the latter.
struct SeriesDifference {
  double first = 0;                  // of the first step
  double largest = 0;                // of any; infinite where one is not finite
  std::optional<std::int64_t> step;  // from 1: the first that differs by more than is tolerated
};

// The largest of a parameter's elements, relative to the root mean square of the parameter on one rank:
// an element by itself may be as near to 0 as it likes.  Infinite where an element is not finite or nobody
// has the parameter.
struct ParameterDifference {
  std::string name;
  double largest = 0;
};

struct LayoutReport {
  SeriesDifference loss;  // with label smoothing or without, whichever differs more
  SeriesDifference grad_norm;
  std::vector<ParameterDifference> parameters;  // after the last step; the five that differ most, most first
  std::vector<std::string> drifted;  // parameters whose replicas are not the same to the bit, in order
  std::optional<bool> repeats;       // with options.repeat: the second time gave the same bits
  std::vector<AxisTraffic> traffic;  // of a step
  bool passes = false;
};

// The first steps of a run, on one rank and then in layouts, from the same first values and data.  Nothing
// is read but the data, and nothing is written.
//
// Two things are not as in the run.  AdamW divides by the gradient's own size, so that where that is nothing
// but rounding (a key's bias has no gradient) it would make steps of it: epsilon is at least 1e-5.  And the
// warm-up is no longer than the check, so that there is something to compare.
class LayoutCheck {
 public:
  // Trains on rank 0 alone; the others wait.  `process` outlives the check.  Throws UserError for what
  // cannot be trained, and if a loss is not finite.
  LayoutCheck(const Config& config, const LayoutCheckOptions& options, Process& process);

  // Trains in the layout that in_layout() gave, on the first ranks that it needs: all of the job call this
  // and wait for those.  The report is rank 0's; others know no more than whether it passes.  REQUIRES:
  // num_ranks(layout) are there.
  LayoutReport compare(const Config& layout);

  // What one rank gave; rank 0's.
  double first_loss() const { return expected_.losses.front(); }
  double last_loss() const { return expected_.losses.back(); }

 private:
  // What the steps gave.
  struct Course {
    std::vector<double> losses, objectives, grad_norms;
    std::vector<AxisTraffic> traffic;

    bool same_numbers(const Course& other) const;
  };
  // By name, in the order of the model.
  struct WholeParameter {
    std::string name;
    std::vector<float> values;
  };
  // What is compared by name, of all ranks: the same on each.
  struct Comparison {
    std::vector<ParameterDifference> parameters;
    std::vector<std::string> drifted;
  };

  Config for_check(const Config& config) const;
  LayoutReport compare(const Config& config, Communicator& group) const;
  std::unique_ptr<TrainingEngine> train(const Config& config, Communicator& group, Course& course) const;
  bool repeats(const Config& config, Communicator& group, const Course& course,
               const std::vector<float>& values) const;
  Comparison compare_parameters(TrainingEngine& engine, Communicator& group) const;
  SeriesDifference difference(const std::vector<double>& actual, const std::vector<double>& expected,
                              double first_tolerance) const;

  const LayoutCheckOptions options_;
  Process& process_;
  const int threads_of_node_;
  Course expected_;  // rank 0's, as what follows
  std::vector<WholeParameter> expected_values_;
};

}  // namespace trireme
