// Which share of a model a rank has, and where and how it computes it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "kernels/stream.h"
#include "parallel/communicator.h"
#include "parallel/layer_partition.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// By default all of it, on the CPU.  The communicators, and who owns the stream, outlive the model.
struct ModelShare {
  Communicator* tensor = nullptr;    // the ranks that share each layer; none: this one has them whole
  Communicator* pipeline = nullptr;  // the stages that share the layers; none: there is one
  // The layers of each part of the model, of all stages: part c p + s is chunk c of stage s of p (see
  // pipeline_schedule.h).  Of an encoder-decoder, its encoder's layers come first.  Empty: one part has all.
  std::vector<LayerRange> parts = {};
  // What the model makes when it is constructed is made in its order, and lies on its device.
  Stream stream = {};
  // In which passes compute.  bfloat16 is a CUDA device's.
  DType dtype = DType::kFloat32;

  bool is_whole() const { return num_stages() == 1 && (tensor == nullptr || tensor->size() == 1); }
  int num_stages() const { return pipeline != nullptr ? pipeline->size() : 1; }
  int stage() const { return pipeline != nullptr ? pipeline->rank() : 0; }
  // Of each stage.
  int num_chunks() const { return parts.empty() ? 1 : static_cast<int>(parts.size()) / num_stages(); }
  // The layers of a chunk of this stage, of a model of so many.
  LayerRange layers_of(int chunk, std::int64_t num_layers) const;
  // The stage that has a layer.
  int stage_of(std::int64_t layer) const;
};

// Says of a parameter that the `stages` have together that their gradients are parts of a sum; `parameter` is
// null on the others.  Collective over the share's pipeline.  Returns the group, of which the first stage is
// rank 0, and which must live as long as the parameters are used; none where one stage has it alone.
std::unique_ptr<Communicator> tie_across_stages(ParameterBuffer& parameters, const Parameter* parameter,
                                                const ModelShare& share, const std::set<int>& stages);

}  // namespace trireme
