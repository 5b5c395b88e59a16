#include "tests/vgpu/cudnn/call.h"

#include <algorithm>

namespace trireme::vgpu {
namespace {

// Calls f(number in the dense tensor, where it lies); bytes[i] is where its i-th head lies, in dims 0 and 1.
template <typename F>
void for_each(const GraphTensor& x, uint8_t* const* bytes, const F& f) {
  const int64_t size = x.type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
  int64_t n = 0;
  for (int64_t head = 0; head < x.dims[0] * x.dims[1]; ++head) {
    for (int64_t i = 0; i < x.dims[2]; ++i) {
      for (int64_t j = 0; j < x.dims[3]; ++j)
        f(n++, bytes[head] + (i * x.strides[2] + j * x.strides[3]) * size);
    }
  }
}

}  // namespace

Call::Call(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)) {
  for (const GraphOperation& op : *graph_) {
    for (const GraphTensor& x : op.inputs) add(x, false);
    add(op.output, true);
  }
}

cudnnStatus_t Call::bind(const Descriptor& pack) {
  const auto uids = pack.all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.all<uint8_t*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  std::map<int64_t, uint8_t*> given;
  for (size_t i = 0; i < uids.size(); ++i) {
    if (!given.emplace(uids[i], pointers[i]).second) return bad("a variant pack has an id twice");
    if (!in_memory_.contains(uids[i])) return bad("a variant pack has an id that the graph has not");
  }
  for (auto& [uid, memory] : in_memory_) {
    const GraphTensor& x = memory.tensor;
    const auto found = given.find(uid);
    if (found == given.end() || !found->second)
      return bad("a variant pack has not tensor " + std::to_string(uid));
    if (x.is_by_value) {
      values_[uid] = {*reinterpret_cast<const float*>(found->second)};  // read now: the call may outlive it
    } else if (reinterpret_cast<uintptr_t>(found->second) % x.alignment != 0) {
      return bad("tensor " + std::to_string(uid) + " isn't aligned as it says");
    } else if (!add_operands(memory, found->second)) {
      return refuse(CUDNN_STATUS_NOT_SUPPORTED, "neither of the last two dims of a tensor lies dense");
    }
  }
  uint8_t* workspace = pack.one<uint8_t*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  operands_.push_back({workspace, kWorkspaceBytes, kWorkspaceBytes, 1, 1, 0});
  return CUDNN_STATUS_SUCCESS;
}

bool Call::add_operands(Memory& memory, uint8_t* begin) {
  const GraphTensor& x = memory.tensor;
  const int64_t bytes = x.type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
  const int dense = x.strides[3] == 1 && x.dims[3] > 1 ? 3 : 2, other = 5 - dense;
  if (x.strides[dense] != 1) return false;
  memory.first_operand = operands_.size();
  for (int64_t i = 0; i < x.dims[0]; ++i) {
    for (int64_t j = 0; j < x.dims[1]; ++j)
      operands_.push_back({begin + (i * x.strides[0] + j * x.strides[1]) * bytes,
                           size_t(std::max(x.strides[other], x.dims[dense]) * bytes),
                           size_t(x.dims[dense] * bytes), size_t(x.dims[other]), memory.is_written,
                           !memory.is_written});
  }
  return true;
}

void Call::run(uint8_t* const* bytes) {
  for (const auto& [uid, memory] : in_memory_) {
    if (memory.is_written || memory.tensor.is_by_value) continue;
    Values& values = values_[uid];
    values.resize(memory.tensor.size());
    const bool is_bf16 = memory.tensor.type == CUDNN_DATA_BFLOAT16;
    for_each(memory.tensor, bytes + memory.first_operand, [&](int64_t n, const uint8_t* from) {
      uint32_t bits = 0;
      std::memcpy(reinterpret_cast<uint8_t*>(&bits) + (is_bf16 ? 2 : 0), from, is_bf16 ? 2 : 4);
      std::memcpy(&values[n], &bits, 4);
    });
  }
  for (const GraphOperation& op : *graph_) {
    std::vector<const Values*> inputs;
    for (const GraphTensor& x : op.inputs) inputs.push_back(&values_.at(x.uid));
    values_[op.output.uid] = op.run(inputs);
  }
  for (const auto& [uid, memory] : in_memory_) {
    if (!memory.is_written) continue;
    const Values& values = values_.at(uid);
    const bool is_bf16 = memory.tensor.type == CUDNN_DATA_BFLOAT16;
    for_each(memory.tensor, bytes + memory.first_operand, [&](int64_t n, uint8_t* to) {
      std::memcpy(to, reinterpret_cast<const uint8_t*>(&values[n]) + (is_bf16 ? 2 : 0), is_bf16 ? 2 : 4);
    });
  }
}

}  // namespace trireme::vgpu
