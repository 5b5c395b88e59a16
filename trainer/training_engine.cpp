#include "trainer/training_engine.h"

#include <algorithm>
#include <vector>

#include "data/user_error.h"
#include "kernels/adamw.h"
#include "kernels/elementwise.h"
#include "kernels/host_copy.h"
#include "kernels/memory_label.h"
#include "parallel/counted_ranges.h"
#include "parallel/nccl_communicator.h"
#include "trainer/layout_limits.h"
#include "trainer/model/memory_remedies.h"
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

// Throws UserError unless there are the ranks for what the config asks for.
void check_ranks(const Config& config, const Communicator& world) {
  const MeshShape shape = mesh_shape(config.parallel);
  if (const auto reason = Mesh::why_not(shape, world.size())) {
    throw UserError(keys_of(shape), *reason, "change it, or start another number of ranks");
  }
  check_layout(config, MeshLayout(shape, world.size()));
}

// All ranks, of a device that has a way of its own between them.
std::unique_ptr<Communicator> make_device_world(const Config& config, Communicator& world, Device device) {
  check_ranks(config, world);
  if constexpr (kHasNccl) {
    if (!device.is_cpu()) return nccl_communicator(world, device);
  }
  return nullptr;
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
  const MemoryLabel label("model", kFewerParameters);
  parameters.shard(shards);
  return shards;
}

std::unique_ptr<BucketReduction> make_reduction(const ParallelConfig& config, ParameterBuffer& parameters,
                                                const std::optional<ShardedLayout>& shards,
                                                std::optional<ParameterGatherer>& gatherer,
                                                Communicator& data) {
  const MemoryLabel label("communication", kSmallerMessages);
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

TrainingEngine::TrainingEngine(const Config& config, Communicator& world, Device device)
    : config_(config),
      compute_(device),
      stream_(compute_),
      device_world_(make_device_world(config, world, device)),
      mesh_(mesh_shape(config.parallel), device_world_ ? *device_world_ : world),
      task_(make_task(config, mesh_, stream_)),
      shards_(make_shards(config.parallel, task_->parameters(), mesh_.data())),
      reducer_(task_->parameters(), mesh_.data(),
               make_reduction(config.parallel, task_->parameters(), shards_, gatherer_, mesh_.data())),
      optimizer_(task_->parameters(), config.optim, reducer_.owned()),
      gradient_norm_(counted_ranges(task_->parameters(), reducer_.owned()), groups_of_norm(shards_, mesh_),
                     device),
      loss_memory_(2 * size_bytes(DType::kFloat32), device),
      loss_2_(loss_memory_.tensor(DType::kFloat32, {2})) {}

void TrainingEngine::initialize() {
  task_->parameters().initialize(static_cast<std::uint64_t>(config_.run.seed), stream_);
  task_->parameters().round_values(stream_);
  if (gatherer_) gatherer_->keep_own(stream_);
}

void TrainingEngine::hold_values() {
  if (gatherer_ && !all_in_use_)
    all_in_use_.emplace(task_->parameters(), FlatRange{0, task_->parameters().num_elements()}, stream_);
}

void TrainingEngine::drop_values() {
  if (!gatherer_) return;
  all_in_use_.reset();
  gatherer_->rest();
}

std::vector<float> TrainingEngine::gather_values() {
  hold_values();
  return host_copy<float>(task_->parameters().values(), stream_);
}

Validation TrainingEngine::validate() {
  hold_values();
  return task_->validate();
}

void TrainingEngine::share_values() {
  if (gatherer_) {
    drop_values();
    return gatherer_->keep_own(stream_);
  }
  if (shards_) gather_shards();
  task_->parameters().round_values(stream_);
}

void TrainingEngine::gather_shards() {
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

void TrainingEngine::start(std::int64_t samples_consumed, std::int64_t steps, std::int64_t skipped_steps) {
  optimizer_.resume(steps - skipped_steps, skipped_steps, stream_);
  task_->start(samples_consumed);
}

StepResult TrainingEngine::step(std::int64_t step) {
  drop_values();
  reducer_.clear(stream_);
  fill(loss_2_, 0.0F, stream_);
  StepResult result;
  result.size = task_->accumulate_gradients(loss_2_, reducer_, step, stream_);
  targets_ = result.size.targets;
  reducer_.finish(stream_);
  drop_values();

  result.learning_rate = learning_rate_at(config_.optim, step, config_.train.steps);
  const Tensor squared_norm = gradient_norm_.squared(reducer_.sums(), stream_);
  sum_losses();
  optimizer_.step(reducer_.sums(), squared_norm, loss_2_.slice(0, 0, 1), result.learning_rate, step, stream_);
  // The optimizer has rounded its own part alone.
  if (shards_ && !gatherer_) share_values();
  return result;
}

void TrainingEngine::sum_losses() {
  // Of a pipeline only the last stage has any.
  for (Communicator* const axis : {&mesh_.data(), &mesh_.pipeline()})
    axis->wait(axis->all_reduce(loss_2_, ReduceOp::kSum, stream_), stream_);
}

StepOutcome TrainingEngine::outcome() {
  const std::vector<float> losses = host_copy<float>(loss_2_, stream_);
  const std::vector<float> norm = host_copy<float>(optimizer_.gradient_norm(), stream_);
  const std::vector<std::int32_t> counts = host_copy<std::int32_t>(optimizer_.counts(), stream_);
  const auto targets = static_cast<double>(targets_);
  return {.objective = losses[0] / targets,
          .loss = losses[1] / targets,
          .grad_norm = norm.front(),
          .skipped_steps = counts[kSkippedSteps],
          .last_skipped_step = counts[kLastSkippedStep]};
}

}  // namespace trireme
