// The order in which the stages of a pipeline work: pure data, the same on every rank.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// p stages share the layers; m microbatches pass them forward, then backward.  F, B and W are the times of a
// microbatch in all layers of one stage: forward, backward to its input, and to its weights.
//
//                   idle in a stage        activations it holds at most, in microbatches of a chunk, stage s
//   gpipe           (p-1)(F+B+W)           m
//   1f1b            (p-1)(F+B+W)           min(m, p-s)
//   interleaved     (p-1)(F+B+W) / v       min(m v, 2(p-s-1) + (v-1) p + 1)
//   zero_bubble     (p-1)(F+B-W)           min(m, p)
//
// for equal stages, messages that take no time, m >= p, and in zero_bubble W <= F, W <= B.  In `interleaved`
// a stage has v chunks of the layers, each 1/v as much: chunk c of stage s is the model's part c p + s.
// `zero_bubble` is the schedule ZB-H1 of "Zero Bubble Pipeline Parallelism" (Qi et al., 2023): gradients of
// weights, for which no other stage waits, fill what would be idle, within the memory that the first stage of
// 1f1b has.
enum class PipelineKind : std::uint8_t { kGPipe, kOneForwardOneBackward, kInterleaved, kZeroBubble };
const char* name(PipelineKind kind);
std::optional<PipelineKind> pipeline_kind(std::string_view name);

struct PipelineShape {
  PipelineKind kind = PipelineKind::kOneForwardOneBackward;
  int num_stages = 1;
  int num_microbatches = 1;
  int num_chunks = 1;  // per stage
};

// Says why there is no such schedule and what would fit; nothing when there is one.
std::optional<std::string> why_not(const PipelineShape& shape);

struct PipelineAction {
  enum class Kind : std::uint8_t {
    kForward,
    kBackward,         // to input and weights
    kBackwardInput,    // to the input; the weights' comes later
    kBackwardWeights,  // after it the activation is gone
  };

  Kind kind = Kind::kForward;
  int microbatch = 0;
  int chunk = 0;

  bool operator==(const PipelineAction&) const = default;
};

// What `stage` does, in order.  Each microbatch passes each chunk once forward and once backward, and both
// ways in ascending order, so that gradients are summed in the same order as without a pipeline.  REQUIRES:
// !why_not(shape).
std::vector<PipelineAction> pipeline_schedule(const PipelineShape& shape, int stage);

// The other end of a message: activations travel from part to part of the model, gradients back.  A stage
// takes the activations of another in the order in which they were sent, and the gradients, too; but between
// two interleaved stages both go the same way, so a pipeline has a communicator for each.
struct PipelinePeer {
  int stage = 0;
  int chunk = 0;

  bool operator==(const PipelinePeer&) const = default;
};
// Where an action's input comes from and its result goes to; nowhere at the ends of the model, and for
// weights.
std::optional<PipelinePeer> source_of(const PipelineShape& shape, int stage, const PipelineAction& action);
std::optional<PipelinePeer> destination_of(const PipelineShape& shape, int stage,
                                           const PipelineAction& action);

// The most activations (of one microbatch in one chunk) that a stage holds at a time: the table above.
int max_activations(const PipelineShape& shape, int stage);

}  // namespace trireme
