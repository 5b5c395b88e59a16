// libcudnn as far as our attention calls it: graphs of operations by the backend's descriptors, executed in
// the order of their streams.  README.md says how far it goes.
#include <cstring>
#include <memory>

#include "tests/vgpu/cudnn/call.h"
#include "tests/vgpu/cudnn/descriptor.h"
#include "tests/vgpu/runtime/library.h"

namespace trireme::vgpu {
namespace {

constexpr int kNumConfigs = 2;  // the first of which makes no plan

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
    std::strncpy(message, last_refusal().c_str(), size - 1);
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
  *made = new Descriptor{type};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  Descriptor& self = *static_cast<Descriptor*>(descriptor);
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
      const Descriptor* other = static_cast<const Descriptor* const*>(values)[i];
      if (!other || !other->is_final) return bad(which + " is a descriptor that isn't finalised");
    }
  }
  const auto* bytes = static_cast<const uint8_t*>(values);
  self.attributes[name].assign(bytes, bytes + count * bytes_of(type));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  Descriptor& self = *static_cast<Descriptor*>(descriptor);
  if (self.is_final) return bad("a descriptor is finalised twice");
  const cudnnStatus_t status = finalize(self);
  self.is_final = status == CUDNN_STATUS_SUCCESS;
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t num_wanted, int64_t* count,
                                       void* values) {
  const Descriptor& self = *static_cast<const Descriptor*>(descriptor);
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
    Descriptor& config = **(static_cast<Descriptor**>(values) + i);
    config.graph = self.graph;
    config.config = int(i);
    config.is_final = true;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant_pack) {
  const Descriptor& self = *static_cast<const Descriptor*>(plan);
  const Descriptor& pack = *static_cast<const Descriptor*>(variant_pack);
  if (!self.is_final || !pack.is_final) return bad("a plan or variant pack isn't finalised");
  auto call = std::make_unique<Call>(self.graph);
  if (const cudnnStatus_t status = call->bind(pack); status != CUDNN_STATUS_SUCCESS) return status;
  const std::vector<VgpuOperand> operands = call->operands();
  const cudaError_t error = vgpu_submit("cudnnBackendExecute", stream_of(handle), operands.data(),
                                        int(operands.size()), Call::execute, call.release(), Call::release);
  return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_EXECUTION_FAILED, "not submitted");
}
}
