// Attention as graphs of cuDNN's operations, in the compositions that its fused engines recognise.  Internal
// to kernels/cuda/cudnn/.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/cuda/cudnn/descriptor.h"

namespace trireme::cuda::cudnn {

using Strides = std::array<std::int64_t, 3>;  // of B, T (or S) and H (or K), in elements; D lies dense

// All that a graph depends on.  Numbers are bfloat16, stats (the log-sum-exp) float32 and dense.
struct AttentionShape {
  std::int64_t num_sequences, num_queries, num_keys, num_heads, num_kv_heads, width;
  bool is_causal;  // REQUIRES then: num_queries == num_keys
  bool has_stats;  // forward's; backward reads them always
  float scale;
  Strides q, k, v, out;
  Strides dout{}, dq{}, dk{}, dv{};  // of backward

  auto operator<=>(const AttentionShape&) const = default;
};

// What the graphs' tensors are called.  kSum is [B, H, T] float32 for backward to work with; kHidden is the
// score of what isn't seen, and kOne is 1, which the engines want a factor for.
enum Uid : std::int64_t { kQ = 1, kK, kV, kOut, kStats, kDout, kDq, kDk, kDv, kSum, kScale, kHidden, kOne };

// A finalised operation graph.  Its operations and tensors live as long as it.
class AttentionGraph {
 public:
  static AttentionGraph forward(const AttentionShape& shape, cudnnHandle_t handle);
  static AttentionGraph backward(const AttentionShape& shape, cudnnHandle_t handle);

  const Descriptor& descriptor() const { return graph_; }
  // What an execution is to be given: device memory, and of kScale, kHidden and kOne floats of the host.
  const std::vector<Uid>& uids() const { return uids_; }

 private:
  friend class GraphBuilder;
  AttentionGraph() : graph_(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {}

  Descriptor graph_;
  std::vector<Descriptor> parts_, operations_;
  std::vector<Uid> uids_;
};

}  // namespace trireme::cuda::cudnn
