#include <cstdio>
#include <cstring>

#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/device.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

bool is_device(int device) {
  return device >= 0 && device < settings().num_devices;
}

cudaDeviceProp properties(int device) {
  cudaDeviceProp p = {};
  std::snprintf(p.name, sizeof(p.name), "virtual GPU, compute capability %d.%d",
                settings().compute_capability / 10, settings().compute_capability % 10);
  std::memcpy(p.uuid.bytes, "virtual GPU", 11);
  p.uuid.bytes[15] = static_cast<char>(device);
  p.totalGlobalMem = settings().memory_bytes;
  p.sharedMemPerBlock = kSharedBytesPerBlock;
  p.sharedMemPerBlockOptin = kOptInSharedBytesPerBlock;
  p.sharedMemPerMultiprocessor = kSharedBytesPerMultiprocessor;
  p.reservedSharedMemPerBlock = kReservedSharedBytesPerBlock;
  p.regsPerBlock = kRegistersPerMultiprocessor;
  p.regsPerMultiprocessor = kRegistersPerMultiprocessor;
  p.warpSize = 32;
  p.memPitch = 2147483647;
  p.maxThreadsPerBlock = kMaxThreadsPerBlock;
  p.maxThreadsPerMultiProcessor = kMaxThreadsPerMultiprocessor;
  p.maxBlocksPerMultiProcessor = kMaxBlocksPerMultiprocessor;
  for (int i = 0; i < 3; ++i) {
    p.maxThreadsDim[i] = kMaxBlockExtent[i];
    p.maxGridSize[i] = kMaxGridExtent[i];
  }
  p.totalConstMem = 64 * 1024;
  p.major = settings().compute_capability / 10;
  p.minor = settings().compute_capability % 10;
  p.textureAlignment = 512;
  p.multiProcessorCount = kNumMultiprocessors;
  p.canMapHostMemory = 1;
  p.concurrentKernels = 1;
  p.pciDeviceID = device;
  p.asyncEngineCount = 3;
  p.unifiedAddressing = 1;
  p.memoryBusWidth = 5120;
  p.l2CacheSize = 40 << 20;
  p.streamPrioritiesSupported = 1;
  p.managedMemory = 1;
  p.memoryPoolsSupported = 1;
  p.hostRegisterSupported = 1;
  p.globalL1CacheSupported = 1;
  p.localL1CacheSupported = 1;
  return p;
}

cudaError_t attribute(int* value, cudaDeviceAttr name, int device) {
  const cudaDeviceProp p = properties(device);
  switch (name) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
    case cudaDevAttrMaxBlockDimZ:
      *value = p.maxThreadsDim[name - cudaDevAttrMaxBlockDimX];
      break;
    case cudaDevAttrMaxGridDimX:
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = p.maxGridSize[name - cudaDevAttrMaxGridDimX];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(p.reservedSharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = p.regsPerBlock;
      break;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = p.regsPerMultiprocessor;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = p.maxBlocksPerMultiProcessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCanMapHostMemory:
      *value = 1;
      break;
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrIntegrated:
    case cudaDevAttrClusterLaunch:
      *value = 0;
      break;
    default:
      return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  return api_call("cudaGetDeviceCount", [&] {
    *count = settings().num_devices;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return api_call("cudaSetDevice", [&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    current_device = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return api_call("cudaGetDevice", [&] {
    *device = current_device;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDeviceFlags(unsigned flags) {
  return api_call("cudaSetDeviceFlags", [&] {
    RuntimeState::get().device_flags = flags;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceFlags(unsigned* flags) {
  return api_call("cudaGetDeviceFlags", [&] {
    *flags = RuntimeState::get().device_flags;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* result, int device) {
  return api_call("cudaGetDeviceProperties", [&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    *result = properties(device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int device) {
  return api_call("cudaDeviceGetAttribute", [&] {
    return is_device(device) ? attribute(value, name, device) : cudaErrorInvalidDevice;
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  return api_call("cudaDeviceGetPCIBusId", [&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    std::snprintf(id, length, "0000:00:%02x.0", device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return api_call("cudaDeviceSynchronize", [&] {
    const cudaError_t error = Streams::get().refuse_captured(current_device);
    if (error != cudaSuccess) return error;
    ++RuntimeState::get().counters.device_waits;
    Streams::get().finish_device(current_device);
    return cudaSuccess;
  });
}

// Memory stays, so that it is still known whether it is freed.
cudaError_t cudaDeviceReset() {
  return api_call("cudaDeviceReset", [&] {
    Streams::get().finish_device(current_device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return api_call("cudaDeviceCanAccessPeer", [&] {
    if (!is_device(device) || !is_device(peer)) return cudaErrorInvalidDevice;
    *can = device != peer;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  return api_call("cudaDeviceEnablePeerAccess", [&] {
    if (!is_device(peer) || peer == current_device) return cudaErrorInvalidDevice;
    uint32_t& peers = RuntimeState::get().peers[current_device];
    if (peers >> peer & 1) return cudaErrorPeerAccessAlreadyEnabled;
    peers |= 1u << peer;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  return api_call("cudaDeviceDisablePeerAccess", [&] {
    if (!is_device(peer)) return cudaErrorInvalidDevice;
    uint32_t& peers = RuntimeState::get().peers[current_device];
    if (!(peers >> peer & 1)) return cudaErrorPeerAccessNotEnabled;
    peers &= ~(1u << peer);
    return cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return api_call("cudaDriverGetVersion", [&] {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return api_call("cudaRuntimeGetVersion", [&] {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

}  // extern "C"
