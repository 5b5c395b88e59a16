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

// In the first steps ops still choose algorithms, and memory is made.
constexpr std::int64_t kStepsWithoutGraph = 2;

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
  const ShardedLayout shards(
      parameters.num_elements(), data.size(),
      std::max<std::int64_t>(1, bucket_bytes(config) / size_bytes(DType::kFloat32)),
      ShardedLayout::page_elements(parameters.gradients().device(), parameters.type_of_operands()));
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
  share_values();
}

void TrainingEngine::share_values() {
  drop_operands();
  if (gatherer_) gatherer_->keep_own(stream_);
  drop_others_values();
  ParameterBuffer& parameters = task_->parameters();
  if (!shards_) return parameters.round_values({0, parameters.num_elements()}, stream_);
  for (const FlatRange& part : shards_->parts_of(mesh_.data().rank())) parameters.round_values(part, stream_);
  gather_operands();
}

void TrainingEngine::drop_operands() {
  if (!gatherer_) return;
  all_in_use_.reset();
  gatherer_->rest();
}

void TrainingEngine::drop_others_values() {
  if (!shares_values()) return;
  for (int bucket = 0; bucket < shards_->num_buckets(); ++bucket) {
    for (const FlatRange& part : shards_->parts_of_others(bucket, mesh_.data().rank()))
      task_->parameters().release_values(part, stream_);
  }
}

void TrainingEngine::gather_operands() {
  if (shards_ && !gatherer_) gather(task_->parameters().padded_operands());
}

void TrainingEngine::gather(Tensor padded) {
  Communicator& data = mesh_.data();
  Communicator::Ticket last = 0;
  for (int bucket = 0; bucket < shards_->num_buckets(); ++bucket) {
    const auto [begin, end] = shards_->bucket(bucket);
    const auto [own_begin, own_end] = shards_->part(bucket, data.rank());
    last = data.all_gather(padded.slice(0, begin, end), padded.slice(0, own_begin, own_end), stream_);
  }
  data.wait(last, stream_);
}

std::vector<float> TrainingEngine::gather_values() {
  ParameterBuffer& parameters = task_->parameters();
  if (shares_values()) {
    drop_operands();
    parameters.acquire_values({0, shards_->padded_elements()}, stream_);
    gather(parameters.padded_values());
  }
  std::vector<float> values = host_copy<float>(parameters.values(), stream_);
  drop_others_values();
  return values;
}

Validation TrainingEngine::validate() {
  ParameterBuffer& parameters = task_->parameters();
  if (gatherer_ && !all_in_use_)
    all_in_use_.emplace(parameters, FlatRange{0, parameters.num_elements()}, stream_);
  return task_->validate();
}

void TrainingEngine::start(std::int64_t samples_consumed, std::int64_t steps, std::int64_t skipped_steps) {
  optimizer_.resume(steps - skipped_steps, skipped_steps, stream_);
  task_->start(samples_consumed);
}

StepResult TrainingEngine::step(std::int64_t step) {
  drop_operands();
  StepResult result;
  result.size = task_->read_batch();
  targets_ = result.size.targets;
  result.learning_rate = learning_rate_at(config_.optim, step, config_.train.steps);
  optimizer_.set_learning_rate(result.learning_rate, stream_);
  if (config_.run.cuda_graph && num_steps_++ >= kStepsWithoutGraph) {
    do_by_graph(step);
  } else {
    pass_and_update(step);
  }
  return result;
}

void TrainingEngine::pass_and_update(std::int64_t step) {
  const Tensor squared_norm_1 = pass(step);
  optimizer_.step(reducer_.sums(), squared_norm_1, loss_2_.slice(0, 0, 1), stream_);
  gather_operands();
}

void TrainingEngine::do_by_graph(std::int64_t step) {
  const std::optional<int> alike = task_->alike();
  RecordedStep& recorded = recorded_[static_cast<std::size_t>(alike.value_or(0))];
  if (recorded.graph && alike) {
    for (const Axis axis : kAxes) mesh_.repeat(axis, recorded.traffic[static_cast<std::size_t>(axis)]);
  } else {
    record(recorded, step);
  }
  recorded.graph.launch(stream_);
}

void TrainingEngine::record(RecordedStep& recorded, std::int64_t step) {
  std::array<Traffic, kAxes.size()> before;
  for (const Axis axis : kAxes) before[static_cast<std::size_t>(axis)] = mesh_.traffic(axis);
  recorded.graph.record(stream_, [&] { pass_and_update(step); });
  for (const Axis axis : kAxes) {
    const auto i = static_cast<std::size_t>(axis);
    recorded.traffic[i] = mesh_.traffic(axis) - before[i];
  }
}

Tensor TrainingEngine::pass(std::int64_t step) {
  reducer_.clear(stream_);
  fill(loss_2_, 0.0F, stream_);
  task_->accumulate_gradients(loss_2_, reducer_, step, stream_);
  reducer_.finish(stream_);
  drop_operands();
  const Tensor squared_norm_1 = gradient_norm_.squared(reducer_.sums(), stream_);
  sum_losses();
  return squared_norm_1;
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
