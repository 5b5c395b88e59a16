#include "tests/vgpu/cudnn/descriptor.h"

#include <set>

namespace trireme::vgpu {
namespace {

thread_local std::string last_error;

cudnnStatus_t finalize_tensor(Descriptor& self) {
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

cudnnStatus_t finalize_operation(Descriptor& self, const std::vector<int>& inputs, int output, int math) {
  GraphOperation& op = self.operation;
  op.type = self.type;
  if (math >= 0) {
    const Descriptor& how = self.other(math);
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
cudnnStatus_t finalize_graph(Descriptor& self) {
  auto graph = std::make_shared<Graph>();
  std::map<int64_t, GraphTensor> known;
  std::set<int64_t> written;
  for (const Descriptor* op : self.all<const Descriptor*>(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
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

}  // namespace

cudnnStatus_t refuse(cudnnStatus_t status, const std::string& why) {
  last_error = why;
  return status;
}

cudnnStatus_t bad(const std::string& why) {
  return refuse(CUDNN_STATUS_BAD_PARAM, why);
}

const std::string& last_refusal() {
  return last_error;
}

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

cudnnStatus_t finalize(Descriptor& self) {
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
      const Descriptor& config = self.other(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
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

}  // namespace trireme::vgpu
