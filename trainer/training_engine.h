// A model in training on a mesh of ranks: one step after another.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/stream_graph.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/parameter_gatherer.h"
#include "parallel/sharded_layout.h"
#include "trainer/config.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"
#include "trainer/task.h"

namespace trireme {

// What is known of a step as soon as the device has been told of it; the same on every rank.
struct StepResult {
  StepSize size;
  double learning_rate = 0.0;
};

// What came of it, and of those before; the same on every rank.
struct StepOutcome {
  double objective = 0.0;  // what is minimised: nats per token, of the global batch
  double loss = 0.0;       // the same without label smoothing
  double grad_norm = 0.0;  // before clipping
  // Steps that changed nothing, because their loss or gradient was not a finite number, and the last of them.
  std::int64_t skipped_steps = 0;
  std::int64_t last_skipped_step = 0;
};

// The mesh that a config asks for.
MeshShape mesh_shape(const ParallelConfig& config);

// Knows of layouts, and nothing of runs: directories, checkpoints and logs are Trainer's.  Every call is
// collective over the ranks of `world`.
class TrainingEngine {
 public:
  // On this device, which the config only names the type of.  `world` outlives the engine.  Throws UserError
  // for a config or data that cannot be trained from.
  TrainingEngine(const Config& config, Communicator& world, Device device = {});

  Mesh& mesh() { return mesh_; }
  Task& task() { return *task_; }
  AdamW& optimizer() { return optimizer_; }

  // How the data axis shares the rank's flat vectors, if parallel.zero >= 1: the optimizer's moments, and
  // the values unless passes need them, with 3 also what these need.  Of what is shared this rank has
  // shards()->parts_of(mesh().data().rank()) alone, in place.
  const std::optional<ShardedLayout>& shards() const { return shards_; }
  bool shares_values() const { return shards_ && (gatherer_ || !task_->parameters().operands_are_values()); }

  // Draws the parameters' values.
  void initialize();
  // Makes of them what passes compute with.  After the values, of this rank's parts at least, were written
  // from outside.
  void share_values();
  // All values of this rank's share of the parameters, laid out as in task().parameters(), in the host's
  // memory; waits for them.  REQUIRES: between steps.
  std::vector<float> gather_values();
  // Gathers all that passes need first, if ranks share it: sequences to validate on are not the same number
  // on each rank.
  Validation validate();
  // Memory that this rank's parameters, gradients and moments take at this moment.
  std::int64_t resident_bytes() const {
    return task_->parameters().resident_bytes() + reducer_.resident_bytes() + optimizer_.resident_bytes();
  }
  // Begins to read, behind so many samples, as many steps and those of them that were skipped.  Once, before
  // steps.
  void start(std::int64_t samples_consumed, std::int64_t steps, std::int64_t skipped_steps);
  // The step number `step`, from 0.  Doesn't wait for a device to do it.
  StepResult step(std::int64_t step);
  // Of the last step: waits until the device has done it.
  StepOutcome outcome();

 private:
  struct RecordedStep {
    StreamGraph graph;
    std::array<Traffic, kAxes.size()> traffic;
  };

  // What a step does with the batch that was read and the learning rate that was set.
  void pass_and_update(std::int64_t step);
  void do_by_graph(std::int64_t step);
  void record(RecordedStep& recorded, std::int64_t step);
  // All ranks' losses, gradient and its norm, which it returns.
  Tensor pass(std::int64_t step);
  // Of what validate() and the pass before have gathered.
  void drop_operands();
  // Of values that ranks share, what others have.
  void drop_others_values();
  // All operands, if passes need them there, after this rank's own have changed.
  void gather_operands();
  // All buckets of a padded flat vector.
  void gather(Tensor padded);
  void sum_losses();

  const Config config_;
  const DeviceStream compute_;
  const Stream stream_;
  const std::unique_ptr<Communicator> device_world_;  // on a CUDA device
  Mesh mesh_;
  const std::unique_ptr<Task> task_;
  const std::optional<ShardedLayout> shards_;
  std::optional<ParameterGatherer> gatherer_;
  GradientReducer reducer_;
  AdamW optimizer_;
  GradientNorm gradient_norm_;
  std::optional<ParametersInUse> all_in_use_;
  std::int64_t num_steps_ = 0;
  std::array<RecordedStep, 2> recorded_;  // by what Task::alike() says
  Buffer loss_memory_;
  Tensor loss_2_;             // sums over the step, see Task
  std::int64_t targets_ = 0;  // of the last step
};

}  // namespace trireme
