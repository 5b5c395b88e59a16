#include "parallel/pipeline_schedule.h"

#include <algorithm>
#include <array>
#include <utility>

#include <glog/logging.h>

namespace trireme {
namespace {

using Kind = PipelineAction::Kind;
using Actions = std::vector<PipelineAction>;

constexpr std::array kNames{std::pair{PipelineKind::kGPipe, "gpipe"},
                            std::pair{PipelineKind::kOneForwardOneBackward, "1f1b"},
                            std::pair{PipelineKind::kInterleaved, "interleaved"},
                            std::pair{PipelineKind::kZeroBubble, "zero_bubble"}};

Actions gpipe(const PipelineShape& shape) {
  Actions actions;
  for (int m = 0; m < shape.num_microbatches; ++m) actions.push_back({Kind::kForward, m});
  for (int m = 0; m < shape.num_microbatches; ++m) actions.push_back({Kind::kBackward, m});
  return actions;
}

// How many forwards a stage is ahead of its first backward.
int warmup_of(const PipelineShape& shape, int stage) {
  const int behind = shape.num_stages - stage - 1;
  if (shape.kind != PipelineKind::kInterleaved) return std::min(shape.num_microbatches, behind);
  return std::min(shape.num_microbatches * shape.num_chunks,
                  2 * behind + (shape.num_chunks - 1) * shape.num_stages);
}

Actions one_forward_one_backward(const PipelineShape& shape, int stage) {
  Actions actions;
  const int warmup = warmup_of(shape, stage);
  for (int m = 0; m < warmup; ++m) actions.push_back({Kind::kForward, m});
  for (int m = 0; m < shape.num_microbatches; ++m) {
    if (m + warmup < shape.num_microbatches) actions.push_back({Kind::kForward, m + warmup});
    actions.push_back({Kind::kBackward, m});
  }
  return actions;
}

// The i-th forward, or backward, of a stage: as many microbatches as there are stages pass a chunk, then the
// next.
PipelineAction interleaved_action(const PipelineShape& shape, Kind kind, int i) {
  const int round = shape.num_stages * shape.num_chunks;
  const int chunk = i % round / shape.num_stages;
  return {kind, i / round * shape.num_stages + i % shape.num_stages,
          kind == Kind::kForward ? chunk : shape.num_chunks - 1 - chunk};
}

Actions interleaved(const PipelineShape& shape, int stage) {
  Actions actions;
  const int warmup = warmup_of(shape, stage);
  const int total = shape.num_microbatches * shape.num_chunks;
  for (int i = 0; i < warmup; ++i) actions.push_back(interleaved_action(shape, Kind::kForward, i));
  for (int i = 0; i < total; ++i) {
    if (i + warmup < total) actions.push_back(interleaved_action(shape, Kind::kForward, i + warmup));
    actions.push_back(interleaved_action(shape, Kind::kBackward, i));
  }
  return actions;
}

// As 1f1b, but stage s puts off the weights of s microbatches, until the end, where it would stand idle.
Actions zero_bubble(const PipelineShape& shape, int stage) {
  Actions actions;
  const int warmup = warmup_of(shape, stage);
  for (int m = 0; m < warmup; ++m) actions.push_back({Kind::kForward, m});
  for (int m = 0; m < shape.num_microbatches; ++m) {
    if (m + warmup < shape.num_microbatches) actions.push_back({Kind::kForward, m + warmup});
    actions.push_back({Kind::kBackwardInput, m});
    if (m >= stage) actions.push_back({Kind::kBackwardWeights, m - stage});
  }
  for (int m = std::max(0, shape.num_microbatches - stage); m < shape.num_microbatches; ++m)
    actions.push_back({Kind::kBackwardWeights, m});
  return actions;
}

// The part of the model that lies `step` parts from the one that the action is in.
std::optional<PipelinePeer> part_beside(const PipelineShape& shape, int stage, int chunk, int step) {
  const int part = chunk * shape.num_stages + stage + step;
  if (part < 0 || part >= shape.num_stages * shape.num_chunks) return std::nullopt;
  return PipelinePeer{part % shape.num_stages, part / shape.num_stages};
}

}  // namespace

const char* name(PipelineKind kind) {
  return std::find_if(kNames.begin(), kNames.end(), [&](const auto& entry) { return entry.first == kind; })
      ->second;
}

std::optional<PipelineKind> pipeline_kind(std::string_view name) {
  const auto* found =
      std::find_if(kNames.begin(), kNames.end(), [&](const auto& entry) { return entry.second == name; });
  if (found == kNames.end()) return std::nullopt;
  return found->first;
}

std::optional<std::string> why_not(const PipelineShape& shape) {
  const auto count = [](int n, const std::string& what) {
    return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
  };
  if (shape.num_stages < 1 || shape.num_microbatches < 1 || shape.num_chunks < 1) {
    return "a pipeline of " + count(shape.num_stages, "stage") + ", " +
           count(shape.num_microbatches, "microbatch") + " and " + count(shape.num_chunks, "chunk") +
           "; 1 is the least of each";
  }
  if (shape.kind != PipelineKind::kInterleaved) {
    if (shape.num_chunks == 1) return std::nullopt;
    return std::string(name(shape.kind)) + " has 1 chunk per stage, not " + std::to_string(shape.num_chunks) +
           "; interleaved takes more";
  }
  if (shape.num_chunks == 1) return "interleaved needs 2 chunks per stage or more; with 1 it is 1f1b";
  const int rest = shape.num_microbatches % shape.num_stages;
  if (rest == 0) return std::nullopt;
  const int below = shape.num_microbatches - rest;
  return "interleaved passes microbatches by as many as there are stages, and " +
         std::to_string(shape.num_stages) + " does not divide " + std::to_string(shape.num_microbatches) +
         "; " + (below > 0 ? std::to_string(below) + " or " : "") + std::to_string(below + shape.num_stages) +
         " microbatches fit";
}

std::vector<PipelineAction> pipeline_schedule(const PipelineShape& shape, int stage) {
  const std::optional<std::string> problem = why_not(shape);
  CHECK(!problem) << *problem;
  CHECK(0 <= stage && stage < shape.num_stages) << "stage " << stage << " of " << shape.num_stages;
  switch (shape.kind) {
    case PipelineKind::kGPipe:
      return gpipe(shape);
    case PipelineKind::kOneForwardOneBackward:
      return one_forward_one_backward(shape, stage);
    case PipelineKind::kInterleaved:
      return interleaved(shape, stage);
    case PipelineKind::kZeroBubble:
      return zero_bubble(shape, stage);
  }
  return {};
}

std::optional<PipelinePeer> source_of(const PipelineShape& shape, int stage, const PipelineAction& action) {
  if (action.kind == Kind::kBackwardWeights) return std::nullopt;
  return part_beside(shape, stage, action.chunk, action.kind == Kind::kForward ? -1 : 1);
}

std::optional<PipelinePeer> destination_of(const PipelineShape& shape, int stage,
                                           const PipelineAction& action) {
  if (action.kind == Kind::kBackwardWeights) return std::nullopt;
  return part_beside(shape, stage, action.chunk, action.kind == Kind::kForward ? 1 : -1);
}

int max_activations(const PipelineShape& shape, int stage) {
  const int total = shape.num_microbatches * shape.num_chunks;
  switch (shape.kind) {
    case PipelineKind::kGPipe:
      return total;
    case PipelineKind::kOneForwardOneBackward:
    case PipelineKind::kInterleaved:
      return std::min(total, warmup_of(shape, stage) + 1);
    case PipelineKind::kZeroBubble:
      return std::min(total, shape.num_stages);
  }
  return total;
}

}  // namespace trireme
