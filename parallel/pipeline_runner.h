// Runs a pipeline: the schedule of pipeline_schedule.h, with messages between its stages.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/pipeline_messages.h"
#include "parallel/pipeline_schedule.h"

namespace trireme {

// What a stage computes.  Messages are empty where the model begins or ends.
class PipelineStage {
 public:
  virtual ~PipelineStage() = default;
  PipelineStage() = default;
  PipelineStage(const PipelineStage&) = delete;
  PipelineStage& operator=(const PipelineStage&) = delete;

  // Of messages; the same on all stages.
  virtual DType dtype() const { return DType::kFloat32; }
  // Numbers of the message that enters a chunk with a microbatch, and that leaves it; the gradients of both
  // have as many.
  virtual std::int64_t elements_in(int chunk, int microbatch) const = 0;
  virtual std::int64_t elements_out(int chunk, int microbatch) const = 0;

  // What the action says, of its microbatch in its chunk.  From a message in to one out: of activations, or
  // backward from the gradient of what forward gave out to that of what it took in, which may overwrite it.
  // Activations stay in `slot` of the chunk from forward until backward, or the weights' part of it, is done.
  virtual void run(const PipelineAction& action, int slot, Tensor in, Tensor out) = 0;
};

// How much of a pipeline's time nothing was computed in, and would have been, had each action taken its mean
// time and messages none.
struct PipelineBubble {
  double measured = 0.0;
  double forecast = 0.0;
};

// With p stages, v chunks of each and messages of B bytes, a stage receives 2 B per microbatch and chunk, but
// for the first part of the model, which gets gradients alone, and the last, which gets activations alone:
// together 2 B m (v p - 1).
class PipelineRunner {
 public:
  // Two communicators among the stages, in order, for what goes each way; they outlive the runner.
  PipelineRunner(Communicator& stages, Communicator& back, PipelineKind kind, int num_chunks);

  PipelineShape shape(int num_microbatches) const;
  // Of a chunk, that run() needs.
  int num_slots(int num_microbatches) const;

  // A step.  With one stage: each microbatch forward, then backward, and no messages.  REQUIRES:
  // !why_not(shape(num_microbatches)); the same number on all stages.
  void run(PipelineStage& stage, int num_microbatches, Stream stream);
  // Forward alone, each microbatch in slot 0.
  void run_forward(PipelineStage& stage, int num_microbatches, Stream stream);

  // Of the steps since the last call; none with one stage, nor of a device, of which the host doesn't know
  // when it computes.  Collective over the stages.
  std::optional<PipelineBubble> take_bubble(Stream stream);

 private:
  using Clock = std::chrono::steady_clock;
  // Of the actions of one kind in one chunk.
  struct Cost {
    double seconds = 0.0;
    std::int64_t count = 0;

    double mean() const { return count > 0 ? seconds / static_cast<double>(count) : 0.0; }
  };
  static constexpr int kNumKinds = 4;

  bool is_alone() const { return stages_.size() == 1; }
  void run_actions(PipelineStage& stage, const PipelineShape& shape,
                   const std::vector<PipelineAction>& actions, int slots, Stream stream);
  Cost& cost(const PipelineAction& action);

  Communicator& stages_;
  PipelineKind kind_;
  int num_chunks_;
  PipelineMessages activations_;
  PipelineMessages gradients_;
  std::vector<Cost> costs_;  // by chunk, then kind
  double seconds_ = 0.0;     // in run()
  double busy_ = 0.0;        // of them, in actions
  // Of the last step.
  int last_microbatches_ = 0;
  bool is_of_cpu_ = true;
  std::vector<PipelineAction> actions_;
  int slots_ = 0;
};

}  // namespace trireme
