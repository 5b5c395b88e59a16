// libcudnn as far as our attention calls it: graphs of operations by the backend's descriptors, executed in
// the order of their streams.  README.md says how far it goes.
#include <cstring>
#include <memory>
#include <set>

#include "tests/vgpu/cudnn/operation.h"
#include "tests/vgpu/runtime/library.h"

namespace trireme::vgpu {
namespace {

thread_local std::string last_error;

cudnnStatus_t refuse(cudnnStatus_t status, const std::string& why) {
  last_error = why;
  return status;
}
cudnnStatus_t bad(const std::string& why) {
  return refuse(CUDNN_STATUS_BAD_PARAM, why);
}

using Graph = std::vector<GraphOperation>;

constexpr int64_t kWorkspaceBytes = 4096;
constexpr int kNumConfigs = 2;  // the first of which makes no plan

// What an attribute must be: its type, and how many elements (0: any number).
struct Rule {
  cudnnBackendAttributeType_t type;
  int64_t count;
  bool is_required;
};
using Rules = std::map<int, Rule>;

const Rules* rules_of(cudnnBackendDescriptorType_t type) {
  constexpr auto kDescriptor = CUDNN_TYPE_BACKEND_DESCRIPTOR;
  static const std::map<int, Rules> all = {
      {CUDNN_BACKEND_TENSOR_DESCRIPTOR,
       {{CUDNN_ATTR_TENSOR_UNIQUE_ID, {CUDNN_TYPE_INT64, 1, true}},
        {CUDNN_ATTR_TENSOR_DATA_TYPE, {CUDNN_TYPE_DATA_TYPE, 1, true}},
        {CUDNN_ATTR_TENSOR_DIMENSIONS, {CUDNN_TYPE_INT64, 4, true}},
        {CUDNN_ATTR_TENSOR_STRIDES, {CUDNN_TYPE_INT64, 4, true}},
        {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {CUDNN_TYPE_INT64, 1, true}},
        {CUDNN_ATTR_TENSOR_IS_VIRTUAL, {CUDNN_TYPE_BOOLEAN, 1, false}},
        {CUDNN_ATTR_TENSOR_IS_BY_VALUE, {CUDNN_TYPE_BOOLEAN, 1, false}}}},
      {CUDNN_BACKEND_MATMUL_DESCRIPTOR, {{CUDNN_ATTR_MATMUL_COMP_TYPE, {CUDNN_TYPE_DATA_TYPE, 1, true}}}},
      {CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
       {{CUDNN_ATTR_POINTWISE_MODE, {CUDNN_TYPE_POINTWISE_MODE, 1, true}},
        {CUDNN_ATTR_POINTWISE_MATH_PREC, {CUDNN_TYPE_DATA_TYPE, 1, true}},
        {CUDNN_ATTR_POINTWISE_AXIS, {CUDNN_TYPE_INT64, 1, false}}}},
      {CUDNN_BACKEND_REDUCTION_DESCRIPTOR,
       {{CUDNN_ATTR_REDUCTION_OPERATOR, {CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, true}},
        {CUDNN_ATTR_REDUCTION_COMP_TYPE, {CUDNN_TYPE_DATA_TYPE, 1, true}}}},
      {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_MATMUL_DESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_MATMUL_ADESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_MATMUL_BDESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_MATMUL_CDESC, {kDescriptor, 1, true}}}},
      {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, {kDescriptor, 1, false}},
        {CUDNN_ATTR_OPERATION_POINTWISE_TDESC, {kDescriptor, 1, false}},
        {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, {kDescriptor, 1, true}}}},
      {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_REDUCTION_DESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_REDUCTION_XDESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_REDUCTION_YDESC, {kDescriptor, 1, true}}}},
      {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_RESHAPE_XDESC, {kDescriptor, 1, true}},
        {CUDNN_ATTR_OPERATION_RESHAPE_YDESC, {kDescriptor, 1, true}}}},
      {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATIONGRAPH_HANDLE, {CUDNN_TYPE_HANDLE, 1, true}},
        {CUDNN_ATTR_OPERATIONGRAPH_OPS, {kDescriptor, 0, true}}}},
      {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
       {{CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, {kDescriptor, 1, true}},
        {CUDNN_ATTR_ENGINEHEUR_MODE, {CUDNN_TYPE_HEUR_MODE, 1, true}}}},
      {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, {}},  // only heuristics make them here
      {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
       {{CUDNN_ATTR_EXECUTION_PLAN_HANDLE, {CUDNN_TYPE_HANDLE, 1, true}},
        {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, {kDescriptor, 1, true}}}},
      {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
       {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {CUDNN_TYPE_INT64, 0, true}},
        {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, {CUDNN_TYPE_VOID_PTR, 0, true}},
        {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, {CUDNN_TYPE_VOID_PTR, 1, true}}}}};
  const auto found = all.find(type);
  return found == all.end() ? nullptr : &found->second;
}

int64_t bytes_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
      return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
      return 8;
    default:
      return 4;  // enums
  }
}

struct Object {
  cudnnBackendDescriptorType_t type;
  bool is_final = false;
  std::map<int, std::vector<uint8_t>> attributes = {};
  // What it comes to, once it is final: descriptors that it was made of may be gone then.
  GraphTensor tensor = {};
  GraphOperation operation = {};
  std::shared_ptr<const Graph> graph = nullptr;
  int config = 0;

  bool has(int name) const { return attributes.contains(name); }
  template <typename T = int64_t>
  std::vector<T> all(int name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    std::vector<T> values(found->second.size() / sizeof(T));
    std::memcpy(values.data(), found->second.data(), found->second.size());
    return values;
  }
  template <typename T = int64_t>
  T one(int name, T otherwise = {}) const {
    if (has(name)) std::memcpy(&otherwise, attributes.at(name).data(), sizeof(T));
    return otherwise;
  }
  const Object& other(int name) const { return *one<const Object*>(name); }
};

cudnnStatus_t finalize_tensor(Object& self) {
  GraphTensor& x = self.tensor;
  x.uid = self.one(CUDNN_ATTR_TENSOR_UNIQUE_ID);
  x.type = self.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
  const auto dims = self.all(CUDNN_ATTR_TENSOR_DIMENSIONS), strides = self.all(CUDNN_ATTR_TENSOR_STRIDES);
  for (int i = 0; i < 4; ++i) {
    if (dims[i] < 1 || strides[i] < 1) return bad("a dim or stride of a tensor is below 1");
    x.dims[i] = dims[i];
    x.strides[i] = strides[i];
  }
  x.alignment = self.one(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  x.is_virtual = self.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL);
  x.is_by_value = self.one<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE);
  if (x.is_virtual && x.is_by_value) return bad("a tensor is virtual and by value");
  if (!x.is_virtual && x.type != CUDNN_DATA_FLOAT && x.type != CUDNN_DATA_BFLOAT16)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "memory of other than float and bfloat16 is unknown here");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalize_operation(Object& self, const std::vector<int>& inputs, int output, int math) {
  GraphOperation& op = self.operation;
  op.type = self.type;
  if (math >= 0) {
    const Object& how = self.other(math);
    op.mode = how.one<int>(CUDNN_ATTR_POINTWISE_MODE, how.one<int>(CUDNN_ATTR_REDUCTION_OPERATOR));
    op.axis = how.one(CUDNN_ATTR_POINTWISE_AXIS, int64_t{-1});
  }
  for (const int name : inputs) {
    if (self.has(name)) op.inputs.push_back(self.other(name).tensor);
  }
  op.output = self.other(output).tensor;
  const std::string why = op.refusal();
  return why.empty() ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_NOT_SUPPORTED, why);
}

// Every tensor is one under its number, written once at most, and virtual ones before they are read.
cudnnStatus_t finalize_graph(Object& self) {
  auto graph = std::make_shared<Graph>();
  std::map<int64_t, GraphTensor> known;
  std::set<int64_t> written;
  for (const Object* op : self.all<const Object*>(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
    for (const GraphTensor& x : op->operation.inputs) {
      if (known.try_emplace(x.uid, x).first->second != x) return bad("two tensors have one unique id");
      if (x.is_virtual && !written.contains(x.uid)) return bad("a virtual tensor is read that nobody writes");
    }
    const GraphTensor& y = op->operation.output;
    if (known.try_emplace(y.uid, y).first->second != y) return bad("two tensors have one unique id");
    if (y.is_by_value || !written.insert(y.uid).second) return bad("a tensor is written that must not be");
    graph->push_back(op->operation);
  }
  if (graph->empty()) return bad("a graph has no operations");
  self.graph = graph;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalize(Object& self) {
  for (const auto& [name, rule] : *rules_of(self.type)) {
    if (rule.is_required && !self.has(name))
      return bad("attribute " + std::to_string(name) + " isn't set of descriptor " +
                 std::to_string(self.type));
  }
  switch (self.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      return finalize_tensor(self);
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
      return finalize_operation(self, {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC},
                                CUDNN_ATTR_OPERATION_MATMUL_CDESC, CUDNN_ATTR_OPERATION_MATMUL_DESC);
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return finalize_operation(self,
                                {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                                 CUDNN_ATTR_OPERATION_POINTWISE_TDESC},
                                CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
                                CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
      return finalize_operation(self, {CUDNN_ATTR_OPERATION_REDUCTION_XDESC},
                                CUDNN_ATTR_OPERATION_REDUCTION_YDESC, CUDNN_ATTR_OPERATION_REDUCTION_DESC);
    case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
      return finalize_operation(self, {CUDNN_ATTR_OPERATION_RESHAPE_XDESC},
                                CUDNN_ATTR_OPERATION_RESHAPE_YDESC, -1);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      return finalize_graph(self);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      self.graph = self.other(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).graph;
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
      return bad("only heuristics make engine configurations here");
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: {
      const Object& config = self.other(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
      self.graph = config.graph;
      return config.config > 0 ? CUDNN_STATUS_SUCCESS
                               : refuse(CUDNN_STATUS_NOT_SUPPORTED, "this engine is one that never can");
    }
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      return self.all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).size() ==
                     self.all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size()
                 ? CUDNN_STATUS_SUCCESS
                 : bad("a variant pack has not as many pointers as ids");
    default:
      return CUDNN_STATUS_SUCCESS;
  }
}

// A graph and the memory that it works on, until it is executed.
class Call {
 public:
  explicit Call(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)) {
    for (const GraphOperation& op : *graph_) {
      for (const GraphTensor& x : op.inputs) add(x, false);
      add(op.output, true);
    }
  }

  cudnnStatus_t bind(const Object& pack) {
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
  bool add_operands(Memory& memory, uint8_t* begin) {
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

  // Calls f(number in the dense tensor, where it lies).
  template <typename F>
  static void for_each(const Memory& memory, uint8_t* const* bytes, const F& f) {
    const GraphTensor& x = memory.tensor;
    const int64_t size = x.type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
    int64_t n = 0;
    for (int64_t head = 0; head < x.dims[0] * x.dims[1]; ++head) {
      for (int64_t i = 0; i < x.dims[2]; ++i) {
        for (int64_t j = 0; j < x.dims[3]; ++j)
          f(n++, bytes[memory.first_operand + head] + (i * x.strides[2] + j * x.strides[3]) * size);
      }
    }
  }

  void run(uint8_t* const* bytes) {
    for (const auto& [uid, memory] : in_memory_) {
      if (memory.is_written || memory.tensor.is_by_value) continue;
      Values& values = values_[uid];
      values.resize(memory.tensor.size());
      const bool is_bf16 = memory.tensor.type == CUDNN_DATA_BFLOAT16;
      for_each(memory, bytes, [&](int64_t n, const uint8_t* from) {
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
      for_each(memory, bytes, [&](int64_t n, uint8_t* to) {
        std::memcpy(to, reinterpret_cast<const uint8_t*>(&values[n]) + (is_bf16 ? 2 : 0), is_bf16 ? 2 : 4);
      });
    }
  }

  std::shared_ptr<const Graph> graph_;
  std::map<int64_t, Memory> in_memory_;
  std::map<int64_t, Values> values_;
  std::vector<VgpuOperand> operands_;
};

cudaStream_t& stream_of(cudnnHandle_t handle) {
  return *reinterpret_cast<cudaStream_t*>(handle);
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    default:
      return "CUDNN_STATUS_EXECUTION_FAILED";
  }
}

void cudnnGetLastErrorString(char* message, size_t size) {
  if (size > 0) {
    std::strncpy(message, last_error.c_str(), size - 1);
    message[size - 1] = 0;
  }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(new cudaStream_t(nullptr));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  stream_of(handle) = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* made) {
  if (!rules_of(type))
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "descriptor " + std::to_string(type) + " is unknown here");
  *made = new Object{type};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Object*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  Object& self = *static_cast<Object*>(descriptor);
  if (self.is_final) return bad("a descriptor is changed after it was finalised");
  const auto rule = rules_of(self.type)->find(name);
  const std::string which = "attribute " + std::to_string(name);
  if (rule == rules_of(self.type)->end())
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, which + " is unknown here");
  if (rule->second.type != type) return bad(which + " is of another type");
  if (count < 1 || !values || (rule->second.count > 0 && rule->second.count != count))
    return bad(which + " has another number of elements");
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (int64_t i = 0; i < count; ++i) {
      const Object* other = static_cast<const Object* const*>(values)[i];
      if (!other || !other->is_final) return bad(which + " is a descriptor that isn't finalised");
    }
  }
  const auto* bytes = static_cast<const uint8_t*>(values);
  self.attributes[name].assign(bytes, bytes + count * bytes_of(type));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  Object& self = *static_cast<Object*>(descriptor);
  if (self.is_final) return bad("a descriptor is finalised twice");
  const cudnnStatus_t status = finalize(self);
  self.is_final = status == CUDNN_STATUS_SUCCESS;
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t num_wanted, int64_t* count,
                                       void* values) {
  const Object& self = *static_cast<const Object*>(descriptor);
  if (!self.is_final) return bad("an attribute is asked for before its descriptor is finalised");
  if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && num_wanted == 1) {
    *count = 1;
    *static_cast<int64_t*>(values) = kWorkspaceBytes;
    return CUDNN_STATUS_SUCCESS;
  }
  if (name != CUDNN_ATTR_ENGINEHEUR_RESULTS || type != CUDNN_TYPE_BACKEND_DESCRIPTOR)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED,
                  "attribute " + std::to_string(name) + " can't be asked for here");
  *count = num_wanted == 0 ? kNumConfigs : std::min<int64_t>(num_wanted, kNumConfigs);
  for (int64_t i = 0; num_wanted > 0 && i < *count; ++i) {
    Object& config = **(static_cast<Object**>(values) + i);
    config.graph = self.graph;
    config.config = int(i);
    config.is_final = true;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant_pack) {
  const Object& self = *static_cast<const Object*>(plan);
  const Object& pack = *static_cast<const Object*>(variant_pack);
  if (!self.is_final || !pack.is_final) return bad("a plan or variant pack isn't finalised");
  auto call = std::make_unique<Call>(self.graph);
  if (const cudnnStatus_t status = call->bind(pack); status != CUDNN_STATUS_SUCCESS) return status;
  const std::vector<VgpuOperand> operands = call->operands();
  const cudaError_t error = vgpu_submit("cudnnBackendExecute", stream_of(handle), operands.data(),
                                        int(operands.size()), Call::execute, call.release(), Call::release);
  return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_EXECUTION_FAILED, "not submitted");
}
}
