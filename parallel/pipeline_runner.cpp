#include "parallel/pipeline_runner.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "parallel/pipeline_forecast.h"

namespace trireme {
namespace {

using Kind = PipelineAction::Kind;

// Activations that a chunk of a stage holds at a time, at most.
int most_held(const std::vector<PipelineAction>& actions, int chunk) {
  int held = 0, most = 0;
  const bool in_halves = std::any_of(actions.begin(), actions.end(), [](const auto& action) {
    return action.kind == Kind::kBackwardWeights;
  });
  for (const PipelineAction& action : actions) {
    if (action.chunk != chunk) continue;
    if (action.kind == Kind::kForward) most = std::max(most, ++held);
    if (action.kind == (in_halves ? Kind::kBackwardWeights : Kind::kBackward)) --held;
  }
  return most;
}

// Messages that any stage may have sent and nobody taken: no more than microbatches that are in flight.
int most_under_way(const PipelineShape& shape) {
  int most = 0;
  for (int stage = 0; stage < shape.num_stages; ++stage) most = std::max(most, max_activations(shape, stage));
  return most + 1;
}

}  // namespace

PipelineRunner::PipelineRunner(Communicator& stages, Communicator& back, PipelineKind kind, int num_chunks)
    : stages_(stages),
      kind_(kind),
      num_chunks_(num_chunks),
      activations_(stages),
      gradients_(back),
      costs_(static_cast<std::size_t>(num_chunks * kNumKinds)) {
  stages.open_messages();
  back.open_messages();
}

PipelineShape PipelineRunner::shape(int num_microbatches) const {
  return {.kind = is_alone() ? PipelineKind::kOneForwardOneBackward : kind_,
          .num_stages = stages_.size(),
          .num_microbatches = num_microbatches,
          .num_chunks = num_chunks_};
}

int PipelineRunner::num_slots(int num_microbatches) const {
  const std::vector<PipelineAction> actions = pipeline_schedule(shape(num_microbatches), stages_.rank());
  int most = 1;
  for (int chunk = 0; chunk < num_chunks_; ++chunk) most = std::max(most, most_held(actions, chunk));
  return most;
}

PipelineRunner::Cost& PipelineRunner::cost(const PipelineAction& action) {
  return costs_[static_cast<std::size_t>(action.chunk * kNumKinds + static_cast<int>(action.kind))];
}

void PipelineRunner::run(PipelineStage& stage, int num_microbatches, Stream stream) {
  const Clock::time_point begin = Clock::now();
  if (num_microbatches != last_microbatches_) {
    actions_ = pipeline_schedule(shape(num_microbatches), stages_.rank());
    slots_ = num_slots(num_microbatches);
  }
  run_actions(stage, shape(num_microbatches), actions_, slots_, stream);
  seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
  last_microbatches_ = num_microbatches;
  is_of_cpu_ = stream.device().is_cpu();
}

void PipelineRunner::run_forward(PipelineStage& stage, int num_microbatches, Stream stream) {
  std::vector<PipelineAction> actions;
  for (int microbatch = 0; microbatch < num_microbatches; ++microbatch) {
    for (int chunk = 0; chunk < num_chunks_; ++chunk)
      actions.push_back({.kind = Kind::kForward, .microbatch = microbatch, .chunk = chunk});
  }
  const std::vector<Cost> costs = costs_;
  const double busy = busy_;
  run_actions(stage, shape(num_microbatches), actions, /*slots=*/1, stream);
  costs_ = costs;  // it is no step
  busy_ = busy;
}

void PipelineRunner::run_actions(PipelineStage& stage, const PipelineShape& shape,
                                 const std::vector<PipelineAction>& actions, int slots, Stream stream) {
  const int rank = stages_.rank();
  const auto messages = [&](const PipelineAction& action) -> PipelineMessages& {
    return action.kind == Kind::kForward ? activations_ : gradients_;
  };
  if (!is_alone()) {
    std::vector<PipelineMessages::Expected> activations, gradients;
    for (const PipelineAction& action : actions) {
      const auto source = source_of(shape, rank, action);
      if (!source) continue;
      const bool forward = action.kind == Kind::kForward;
      (forward ? activations : gradients)
          .push_back({.from = source->stage,
                      .elements = forward ? stage.elements_in(action.chunk, action.microbatch)
                                          : stage.elements_out(action.chunk, action.microbatch)});
    }
    const int room = most_under_way(shape);
    activations_.begin(std::move(activations), room, stage.dtype(), stream);
    gradients_.begin(std::move(gradients), room, stage.dtype(), stream);
  }
  for (const PipelineAction& action : actions) {
    const auto source = source_of(shape, rank, action);
    const auto destination = destination_of(shape, rank, action);
    const Tensor in = source ? messages(action).receive(stream) : Tensor();
    Tensor out;
    if (destination) {
      out = messages(action).outgoing(action.kind == Kind::kForward
                                          ? stage.elements_out(action.chunk, action.microbatch)
                                          : stage.elements_in(action.chunk, action.microbatch),
                                      stream);
    }
    const Clock::time_point begin = Clock::now();
    stage.run(action, action.microbatch % slots, in, out);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    cost(action).seconds += seconds;
    ++cost(action).count;
    busy_ += seconds;
    if (destination) messages(action).send(out, destination->stage, stream);
  }
  if (is_alone()) return;
  activations_.finish(stream);
  gradients_.finish(stream);
}

std::optional<PipelineBubble> PipelineRunner::take_bubble(Stream stream) {
  if (is_alone() || last_microbatches_ == 0 || !is_of_cpu_) return std::nullopt;
  // Of each stage: its time, and what of it was busy, then the mean costs of its chunks.
  const int numbers = 2 + num_chunks_ * 3;
  std::vector<float> all(static_cast<std::size_t>(numbers * stages_.size()));
  float* const own = all.data() + numbers * stages_.rank();
  own[0] = static_cast<float>(seconds_);
  own[1] = static_cast<float>(busy_);
  for (int chunk = 0; chunk < num_chunks_; ++chunk) {
    const auto mean = [&](Kind kind) {
      return static_cast<float>(cost({.kind = kind, .chunk = chunk}).mean());
    };
    own[2 + 3 * chunk] = mean(Kind::kForward);
    own[3 + 3 * chunk] = mean(Kind::kBackward) + mean(Kind::kBackwardInput);
    own[4 + 3 * chunk] = mean(Kind::kBackwardWeights);
  }
  const auto tensor = [&](float* first, std::int64_t size) { return Tensor(first, DType::kFloat32, {size}); };
  stages_.wait(stages_.all_gather(tensor(all.data(), std::ssize(all)), tensor(own, numbers), stream), stream);

  const int stages = stages_.size();
  double longest = 0.0, busy = 0.0;
  std::vector<PipelineCosts> costs(static_cast<std::size_t>(stages * num_chunks_));  // by part
  for (int s = 0; s < stages; ++s) {
    const float* const of_stage = all.data() + numbers * s;
    longest = std::max(longest, static_cast<double>(of_stage[0]));
    busy += static_cast<double>(of_stage[1]);
    for (int chunk = 0; chunk < num_chunks_; ++chunk) {
      const float* const of_chunk = of_stage + 2 + 3 * chunk;
      costs[static_cast<std::size_t>(chunk * stages + s)] = {
          .forward = of_chunk[0], .backward_input = of_chunk[1], .backward_weights = of_chunk[2]};
    }
  }
  const PipelineShape shape = this->shape(last_microbatches_);
  const auto paper = forecast(shape, pipeline_schedules(shape), costs);
  CHECK(paper);
  last_microbatches_ = 0;
  seconds_ = busy_ = 0.0;
  std::fill(costs_.begin(), costs_.end(), Cost());
  return PipelineBubble{.measured = 1.0 - busy / (longest * stages), .forecast = paper->bubble};
}

}  // namespace trireme
