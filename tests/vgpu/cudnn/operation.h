// Operations of cuDNN's graphs, done one by one on whole tensors in float.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
#include <cudnn_graph.h>
#pragma GCC visibility pop

namespace trireme::vgpu {

using Four = std::array<int64_t, 4>;

struct GraphTensor {
  int64_t uid = 0;
  cudnnDataType_t type{};
  Four dims{}, strides{};
  int64_t alignment = 0;
  bool is_virtual = false, is_by_value = false;

  int64_t size() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  bool operator==(const GraphTensor&) const = default;
};

// Numbers of a tensor, dense and row-major whatever its strides.
using Values = std::vector<float>;

struct GraphOperation {
  cudnnBackendDescriptorType_t type{};
  int mode = 0;       // of pointwise and reduction
  int64_t axis = -1;  // of a generated index
  std::vector<GraphTensor> inputs;
  GraphTensor output;

  // Why it can't be done here; empty if it can.
  std::string refusal() const;
  // REQUIRES: no refusal.  Results are rounded to the output's type.
  Values run(const std::vector<const Values*>& inputs_values) const;
};

float round_to_bf16(float x);

}  // namespace trireme::vgpu
