// A model in training on a mesh of ranks: one step after another.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/buffer.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "trainer/config.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_clip.h"
#include "trainer/task.h"

namespace trireme {

// What a step did; the same on every rank.
struct StepResult {
  StepSize size;
  double objective = 0.0;  // what is minimised: nats per token, of the global batch
  double loss = 0.0;       // the same without label smoothing
  double grad_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  bool finite = true;  // otherwise the step changed nothing
};

// The mesh that a config asks for.
MeshShape mesh_shape(const ParallelConfig& config);

// Knows of layouts, and nothing of runs: directories, checkpoints and logs are Trainer's.  Every call is
// collective over the ranks of `world`.
class TrainingEngine {
 public:
  // `world` outlives the engine.  Throws UserError for a config or data that cannot be trained from.
  TrainingEngine(const Config& config, Communicator& world);

  Mesh& mesh() { return mesh_; }
  Task& task() { return *task_; }
  AdamW& optimizer() { return optimizer_; }

  // Draws the parameters' values.
  void initialize();
  // Begins to read, behind so many samples.  Once, before steps.
  void start(std::int64_t samples_consumed) { task_->start(samples_consumed); }
  // The step number `step` (from 0), before which so many were skipped because they were not finite.
  StepResult step(std::int64_t step, std::int64_t skipped_steps);
  // The values of this rank's share of the parameters, all of them, laid out as in task().parameters();
  // valid until the next step.
  Tensor gather_values() { return task_->parameters().values(); }

 private:
  void sum_losses(StepResult& result);

  const Config config_;
  Mesh mesh_;
  Stream stream_;
  const std::unique_ptr<Task> task_;
  AdamW optimizer_;
  const std::vector<FlatRange> owned_;  // what of the gradient this rank counts in its norm
  GradientClip clip_;
  GradientReducer reducer_;
  Buffer loss_memory_;
  Tensor loss_2_;  // this rank's sums over the step, see Task
};

}  // namespace trireme
