#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"

namespace trireme::vgpu {

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
thread_local const char* current_call = "";

RuntimeState& RuntimeState::get() {
  static RuntimeState instance;
  return instance;
}

std::string where_called() {
  return text("  call     ", current_call, "\n");
}

Stream* stream_of(cudaStream_t handle) {
  return Streams::get().find(handle, current_device);
}

namespace {

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* description;
};

#define TRIREME_ERROR(name, description) \
  { name, #name, description }
constexpr ErrorText kErrors[] = {
    TRIREME_ERROR(cudaSuccess, "no error"),
    TRIREME_ERROR(cudaErrorInvalidValue, "invalid argument"),
    TRIREME_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    TRIREME_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    TRIREME_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    TRIREME_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    TRIREME_ERROR(cudaErrorInvalidSymbol, "invalid device symbol"),
    TRIREME_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    TRIREME_ERROR(cudaErrorNotReady, "device not ready"),
    TRIREME_ERROR(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled"),
    TRIREME_ERROR(cudaErrorPeerAccessNotEnabled, "peer access has not been enabled"),
    TRIREME_ERROR(cudaErrorHostMemoryAlreadyRegistered,
                  "part or all of the requested memory range is already mapped"),
    TRIREME_ERROR(cudaErrorHostMemoryNotRegistered,
                  "pointer does not correspond to a registered memory region"),
    TRIREME_ERROR(cudaErrorAssert, "device-side assert triggered"),
    TRIREME_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    TRIREME_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    TRIREME_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    TRIREME_ERROR(cudaErrorStreamCaptureInvalidated,
                  "operation failed due to a previous error during capture"),
    TRIREME_ERROR(cudaErrorStreamCaptureMerge,
                  "operation would result in a merge of separate capture sequences"),
    TRIREME_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    TRIREME_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    TRIREME_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    TRIREME_ERROR(cudaErrorStreamCaptureImplicit,
                  "operation would make the legacy stream depend on a capturing blocking stream"),
    TRIREME_ERROR(cudaErrorStreamCaptureWrongThread,
                  "attempt to terminate a thread-local capture sequence from another thread"),
    TRIREME_ERROR(cudaErrorCapturedEvent,
                  "operation not permitted on an event last recorded in a capturing stream"),
    TRIREME_ERROR(cudaErrorNotSupported, "operation not supported"),
};
#undef TRIREME_ERROR

const ErrorText* find(cudaError_t error) {
  for (const ErrorText& e : kErrors)
    if (e.error == error) return &e;
  return nullptr;
}

cudaError_t peek() {
  return RuntimeState::get().sticky != cudaSuccess ? RuntimeState::get().sticky : last_error;
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* e = find(error);
  return e ? e->name : "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* e = find(error);
  return e ? e->description : "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = peek();
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  return peek();
}

}  // extern "C"
