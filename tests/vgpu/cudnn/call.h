// One execution of a graph.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "tests/vgpu/cudnn/descriptor.h"
#include "tests/vgpu/runtime/library.h"

namespace trireme::vgpu {

constexpr int64_t kWorkspaceBytes = 4096;

// A graph and the memory that it works on, until it is executed.
class Call {
 public:
  explicit Call(std::shared_ptr<const Graph> graph);

  // CUDNN_STATUS_SUCCESS if the variant pack has what the graph wants.
  cudnnStatus_t bind(const Descriptor& pack);

  const std::vector<VgpuOperand>& operands() const { return operands_; }

  static void execute(void* call, uint8_t* const* bytes) { static_cast<Call*>(call)->run(bytes); }
  static void release(void* call) { delete static_cast<Call*>(call); }

 private:
  struct Memory {
    GraphTensor tensor;
    bool is_written;
    size_t first_operand = 0;
  };

  void add(const GraphTensor& x, bool is_written) {
    if (!x.is_virtual) in_memory_.try_emplace(x.uid, Memory{x, is_written});
  }

  // One for each of dims 0 and 1; false where it can't be put so.
  bool add_operands(Memory& memory, uint8_t* begin);

  void run(uint8_t* const* bytes);

  std::shared_ptr<const Graph> graph_;
  std::map<int64_t, Memory> in_memory_;
  std::map<int64_t, Values> values_;
  std::vector<VgpuOperand> operands_;
};

}  // namespace trireme::vgpu
