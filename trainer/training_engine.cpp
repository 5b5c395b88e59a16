#include "trainer/training_engine.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "data/user_error.h"
#include "kernels/elementwise.h"
#include "parallel/counted_ranges.h"
#include "trainer/layout_limits.h"
#include "trainer/optim/lr_schedule.h"

namespace trireme {
namespace {

// The keys that ask for several ranks.
std::string keys_of(const MeshShape& shape) {
  std::string keys;
  const auto add = [&](Axis axis, const char* key) {
    if (shape[axis] > 1) keys += (keys.empty() ? "" : ", ") + std::string(key);
  };
  add(Axis::kPipeline, "parallel.pipeline");
  add(Axis::kData, "parallel.data");
  add(Axis::kTensor, "parallel.tensor");
  return keys.empty() ? "parallel.data" : keys;
}

// The mesh that the config asks for, if there are the ranks for it.
Mesh make_mesh(const Config& config, Communicator& world) {
  const MeshShape shape = mesh_shape(config.parallel);
  if (const auto reason = Mesh::why_not(shape, world.size())) {
    throw UserError(keys_of(shape), *reason, "change it, or start another number of ranks");
  }
  check_layout(config, MeshLayout(shape, world.size()));
  return {shape, world};
}

std::int64_t bucket_bytes(const ParallelConfig& config) {
  return static_cast<std::int64_t>(config.bucket_mib * (1 << 20));
}

// Lays the parameters out for it, too.
std::optional<ShardedLayout> make_shards(const ParallelConfig& config, ParameterBuffer& parameters,
                                         const Communicator& data) {
  if (config.zero == 0) return std::nullopt;
  const ShardedLayout shards(parameters.num_elements(), data.size(),
                             std::max<std::int64_t>(1, bucket_bytes(config) / size_bytes(DType::kFloat32)),
                             ShardedLayout::page_elements(parameters.gradients().device()));
  parameters.shard(shards);
  return shards;
}

std::unique_ptr<BucketReduction> make_reduction(const ParallelConfig& config, ParameterBuffer& parameters,
                                                const std::optional<ShardedLayout>& shards,
                                                std::optional<ParameterGatherer>& gatherer,
                                                Communicator& data) {
  const DType dtype = config.gradient_dtype == "bfloat16" ? DType::kBfloat16 : DType::kFloat32;
  if (!shards) return all_reduce_buckets(parameters, data, bucket_bytes(config), dtype);
  if (config.zero == 1) return scatter_buckets(parameters, data, *shards, dtype);
  if (config.zero == 2) return scatter_buckets_and_release(parameters, data, *shards, dtype);
  gatherer.emplace(parameters, data, *shards);
  parameters.gather_by(&*gatherer);
  return scatter_buckets_and_release(parameters, data, *shards, dtype, *gatherer);
}

// Whose ranks have different elements of the gradient, when it has been summed.
std::vector<Communicator*> groups_of_norm(const std::optional<ShardedLayout>& shards, const Mesh& mesh) {
  std::vector<Communicator*> groups;
  if (shards) groups.push_back(&mesh.data());
  groups.push_back(&mesh.model());
  return groups;
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
      shards_(make_shards(config.parallel, task_->parameters(), mesh_.data())),
      reducer_(task_->parameters(), mesh_.data(),
               make_reduction(config.parallel, task_->parameters(), shards_, gatherer_, mesh_.data())),
      optimizer_(task_->parameters(), config.optim, reducer_.owned()),
      clip_(config.optim.grad_clip, counted_ranges(task_->parameters(), reducer_.owned()),
            groups_of_norm(shards_, mesh_)),
      loss_memory_(2 * size_bytes(DType::kFloat32)),
      loss_2_(loss_memory_.tensor(DType::kFloat32, {2})) {}

void TrainingEngine::initialize() {
  task_->parameters().initialize(static_cast<std::uint64_t>(config_.run.seed));
  if (gatherer_) gatherer_->keep_own();
}

Tensor TrainingEngine::gather_values() {
  ParameterBuffer& parameters = task_->parameters();
  if (gatherer_ && !all_in_use_)
    all_in_use_.emplace(parameters, FlatRange{0, parameters.num_elements()}, stream_);
  return parameters.values();
}

void TrainingEngine::drop_values() {
  if (!gatherer_) return;
  all_in_use_.reset();
  gatherer_->rest();
}

Validation TrainingEngine::validate() {
  gather_values();
  return task_->validate();
}

void TrainingEngine::share_values() {
  if (!shards_) return;
  if (gatherer_) {
    drop_values();
    return gatherer_->keep_own();
  }
  Communicator& data = mesh_.data();
  const Tensor values = task_->parameters().padded_values();
  Communicator::Ticket last = 0;
  for (int bucket = 0; bucket < shards_->num_buckets(); ++bucket) {
    const auto [begin, end] = shards_->bucket(bucket);
    const auto [own_begin, own_end] = shards_->part(bucket, data.rank());
    last = data.all_gather(values.slice(0, begin, end), values.slice(0, own_begin, own_end), stream_);
  }
  data.wait(last, stream_);
}

StepResult TrainingEngine::step(std::int64_t step, std::int64_t skipped_steps) {
  drop_values();
  reducer_.clear(stream_);
  fill(loss_2_, 0.0F, stream_);
  StepResult result;
  result.size = task_->accumulate_gradients(loss_2_, reducer_, step, stream_);
  reducer_.finish(stream_);
  drop_values();

  result.learning_rate = learning_rate_at(config_.optim, step, config_.train.steps);
  result.grad_norm = clip_.measure(reducer_.sums(), stream_);
  sum_losses(result);
  result.finite = std::isfinite(result.objective) && std::isfinite(result.grad_norm);
  if (result.finite) {
    // A skipped step gave the moments nothing: their bias corrections don't count it.
    optimizer_.step(reducer_.sums(), clip_.scale(), result.learning_rate, step - skipped_steps + 1, stream_);
    if (!gatherer_) share_values();
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
