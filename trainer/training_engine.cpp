#include "trainer/training_engine.h"

#include <cmath>

#include "data/user_error.h"
#include "kernels/elementwise.h"
#include "trainer/layout_limits.h"
#include "trainer/optim/lr_schedule.h"

namespace trireme {
namespace {

// The mesh that the config asks for, if there are the ranks for it.
Mesh make_mesh(const Config& config, Communicator& world) {
  const MeshShape shape = mesh_shape(config.parallel);
  if (const auto reason = Mesh::why_not(shape, world.size())) {
    throw UserError("parallel", *reason, "change it, or start another number of ranks");
  }
  check_layout(config, MeshLayout(shape, world.size()));
  return {shape, world};
}

}  // namespace

MeshShape mesh_shape(const ParallelConfig& config) {
  return {.pipeline = static_cast<int>(config.pipeline),
          .data = static_cast<int>(config.data),
          .tensor = static_cast<int>(config.tensor)};
}

TrainingEngine::TrainingEngine(const Config& config, Communicator& world)
    : config_(config),
      mesh_(make_mesh(config, world)),
      task_(make_task(config, mesh_)),
      optimizer_(task_->parameters(), config.optim),
      owned_(task_->parameters().owned_ranges()),
      clip_(config.optim.grad_clip),
      reducer_(task_->parameters(), mesh_.data(),
               static_cast<std::int64_t>(config.parallel.bucket_mib * (1 << 20)), mesh_.tensor().size()),
      loss_memory_(2 * size_bytes(DType::kFloat32)),
      loss_2_(loss_memory_.tensor(DType::kFloat32, {2})) {}

void TrainingEngine::initialize() {
  task_->parameters().initialize(static_cast<std::uint64_t>(config_.run.seed));
}

StepResult TrainingEngine::step(std::int64_t step, std::int64_t skipped_steps) {
  fill(task_->parameters().gradients(), 0.0F, stream_);
  fill(loss_2_, 0.0F, stream_);
  StepResult result;
  result.size = task_->accumulate_gradients(loss_2_, reducer_, step, stream_);
  reducer_.finish(stream_);

  result.learning_rate = learning_rate_at(config_.optim, step, config_.train.steps);
  result.grad_norm = clip_.measure(task_->parameters().gradients(), owned_, mesh_.model(), stream_);
  sum_losses(result);
  result.finite = std::isfinite(result.objective) && std::isfinite(result.grad_norm);
  if (result.finite) {
    // A skipped step gave the moments nothing: their bias corrections don't count it.
    optimizer_.step(clip_.scale(), result.learning_rate, step - skipped_steps + 1, stream_);
  }
  return result;
}

void TrainingEngine::sum_losses(StepResult& result) {
  // Of a pipeline only the last stage has any.
  for (Communicator* const axis : {&mesh_.data(), &mesh_.pipeline()})
    axis->wait(axis->all_reduce(loss_2_, ReduceOp::kSum, stream_), stream_);
  const auto mean = [&](int i) {
    return static_cast<double>(loss_2_.data<float>()[i]) / static_cast<double>(result.size.targets);
  };
  result.objective = mean(0);
  result.loss = mean(1);
}

}  // namespace trireme
