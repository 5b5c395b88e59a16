#include <algorithm>

#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/copy.h"
#include "tests/vgpu/runtime/modules.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

cudaError_t allocate(Region& region, void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const cudaError_t error = Streams::get().refuse_unsafe();
  if (error != cudaSuccess) return error;
  ++RuntimeState::get().counters.allocations;
  const uint64_t address = region.allocate(bytes, settings().memory_bytes, current_call, true);
  *pointer = reinterpret_cast<void*>(address);
  return address ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t allocate_on_device(void** pointer, size_t bytes) {
  return allocate(AddressSpace::get().device(current_device), pointer, bytes);
}

cudaError_t allocate_on_host(void** pointer, size_t bytes) {
  return allocate(AddressSpace::get().host(), pointer, bytes);
}

constexpr const char* kManaged = "cudaMallocManaged";

bool is_managed(const Region& region, uint64_t address) {
  const Allocation* a = region.find(address);
  return a && a->origin == kManaged;
}

void release(Region* region, uint64_t address) {
  bool found = false;
  if (region) region->release(address, found);
  if (!found)
    give_up(Finding::kInvalidFree,
            region ? text("no allocation begins there: ", region->describe(address))
                   : "not an address of a device",
            where_called());
}

// Freeing waits for all that may use the memory.
cudaError_t free_now(void* pointer, bool on_device) {
  if (!pointer) return cudaSuccess;
  const cudaError_t error = Streams::get().refuse_unsafe();
  if (error != cudaSuccess) return error;
  ++RuntimeState::get().counters.frees;
  Streams::get().finish_all();
  const auto address = reinterpret_cast<uint64_t>(pointer);
  AddressSpace& space = AddressSpace::get();
  Region* region = space.find(address);
  // cudaFree is right for managed memory, too, which lies with the host's.
  if (region == &space.host() && on_device && !is_managed(*region, address)) region = nullptr;
  if (region != &space.host() && !on_device) region = nullptr;
  release(region, address);
  return cudaSuccess;
}

// The address of a variable on the current device; null if the symbol is none.
uint8_t* symbol_address(const void* symbol) {
  const Modules::Variable* v = Modules::get().variable(symbol);
  return v ? reinterpret_cast<uint8_t*>(v->module->variables(current_device).at(v->name)) : nullptr;
}

cudaError_t copy_plain(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind, Stream* stream,
                       CopyMode mode) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  return copy(to, bytes, from, bytes, bytes, 1, kind, *stream, mode);
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return api_call("cudaMalloc", [&] { return allocate_on_device(pointer, bytes); });
}

cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t handle) {
  return api_call("cudaMallocAsync", [&] {
    return stream_of(handle) ? allocate_on_device(pointer, bytes) : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaMallocPitch(void** pointer, size_t* pitch, size_t width, size_t height) {
  return api_call("cudaMallocPitch", [&] {
    constexpr size_t kAlignment = 512;
    *pitch = (width + kAlignment - 1) / kAlignment * kAlignment;
    return allocate_on_device(pointer, *pitch * height);
  });
}

cudaError_t cudaMallocManaged(void** pointer, size_t bytes, unsigned) {
  return api_call(kManaged, [&] { return allocate_on_host(pointer, bytes); });
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return api_call("cudaMallocHost", [&] { return allocate_on_host(pointer, bytes); });
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  return api_call("cudaHostAlloc", [&] { return allocate_on_host(pointer, bytes); });
}

cudaError_t cudaFree(void* pointer) {
  return api_call("cudaFree", [&] { return free_now(pointer, true); });
}

cudaError_t cudaFreeHost(void* pointer) {
  return api_call("cudaFreeHost", [&] { return free_now(pointer, false); });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  return api_call("cudaFreeAsync", [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture()) return Streams::get().refuse_captured(*stream);
    const auto address = reinterpret_cast<uint64_t>(pointer);
    Region* region = AddressSpace::get().find(address);
    if (!region || !region->find(address)) release(region, address);
    ++RuntimeState::get().counters.frees;
    Streams::get().submit(*stream, current_call, [=](const Running&) { release(region, address); });
    return cudaSuccess;
  });
}

cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
  return api_call("cudaHostRegister", [&] {
    const auto address = reinterpret_cast<uint64_t>(pointer);
    if (AddressSpace::get().is_registered(address, bytes)) return cudaErrorHostMemoryAlreadyRegistered;
    AddressSpace::get().register_host(address, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaHostUnregister(void* pointer) {
  return api_call("cudaHostUnregister", [&] {
    const bool known = AddressSpace::get().unregister_host(reinterpret_cast<uint64_t>(pointer));
    return known ? cudaSuccess : cudaErrorHostMemoryNotRegistered;
  });
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* host_pointer, unsigned) {
  return api_call("cudaHostGetDevicePointer", [&] {
    *device_pointer = host_pointer;
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  return api_call("cudaMemGetInfo", [&] {
    *total = settings().memory_bytes;
    *free_bytes = *total - std::min<size_t>(*total, AddressSpace::get().device(current_device).live_bytes());
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return api_call("cudaPointerGetAttributes", [&] {
    AddressSpace& space = AddressSpace::get();
    const auto address = reinterpret_cast<uint64_t>(pointer);
    const Region* region = space.find(address);
    const bool pinned = region == &space.host() || space.is_registered(address, 1);
    *attributes = {};
    attributes->type = space.is_device(address) ? cudaMemoryTypeDevice
                       : pinned                 ? cudaMemoryTypeHost
                                                : cudaMemoryTypeUnregistered;
    if (pinned && region && is_managed(*region, address)) attributes->type = cudaMemoryTypeManaged;
    attributes->device = space.is_device(address) ? region->device()
                         : pinned                 ? current_device
                                                  : cudaInvalidDeviceId;
    attributes->devicePointer = region || pinned ? const_cast<void*>(pointer) : nullptr;
    attributes->hostPointer = pinned ? const_cast<void*>(pointer) : nullptr;
    return cudaSuccess;
  });
}

// --- Copies. ---

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return api_call("cudaMemcpy",
                  [&] { return copy_plain(to, from, bytes, kind, &default_stream(), CopyMode::kWaits); });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return api_call("cudaMemcpyAsync",
                  [&] { return copy_plain(to, from, bytes, kind, stream_of(stream), CopyMode::kMayWait); });
}

cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t bytes) {
  return api_call("cudaMemcpyPeer", [&] {
    return copy_plain(to, from, bytes, cudaMemcpyDeviceToDevice, &default_stream(), CopyMode::kWaits);
  });
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return api_call("cudaMemcpyPeerAsync", [&] {
    return copy_plain(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(stream), CopyMode::kMayWait);
  });
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                         size_t height, cudaMemcpyKind kind) {
  return api_call("cudaMemcpy2D", [&] {
    return copy(to, to_pitch, from, from_pitch, width, height, kind, default_stream(), CopyMode::kWaits);
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t handle) {
  return api_call("cudaMemcpy2DAsync", [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    return copy(to, to_pitch, from, from_pitch, width, height, kind, *stream, CopyMode::kMayWait);
  });
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return api_call("cudaMemset", [&] { return fill(to, bytes, value, bytes, 1, default_stream()); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t handle) {
  return api_call("cudaMemsetAsync", [&] {
    Stream* stream = stream_of(handle);
    return stream ? fill(to, bytes, value, bytes, 1, *stream) : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaMemset2D(void* to, size_t pitch, int value, size_t width, size_t height) {
  return api_call("cudaMemset2D", [&] { return fill(to, pitch, value, width, height, default_stream()); });
}

cudaError_t cudaMemset2DAsync(void* to, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t handle) {
  return api_call("cudaMemset2DAsync", [&] {
    Stream* stream = stream_of(handle);
    return stream ? fill(to, pitch, value, width, height, *stream) : cudaErrorInvalidResourceHandle;
  });
}

// --- Variables of the device. ---

cudaError_t cudaGetSymbolAddress(void** pointer, const void* symbol) {
  return api_call("cudaGetSymbolAddress", [&] {
    *pointer = symbol_address(symbol);
    return *pointer ? cudaSuccess : cudaErrorInvalidSymbol;
  });
}

cudaError_t cudaGetSymbolSize(size_t* bytes, const void* symbol) {
  return api_call("cudaGetSymbolSize", [&] {
    const Modules::Variable* v = Modules::get().variable(symbol);
    if (v) *bytes = v->bytes;
    return v ? cudaSuccess : cudaErrorInvalidSymbol;
  });
}

cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t bytes, size_t offset,
                               cudaMemcpyKind kind) {
  return api_call("cudaMemcpyToSymbol", [&] {
    uint8_t* to = symbol_address(symbol);
    if (!to) return cudaErrorInvalidSymbol;
    return copy_plain(to + offset, from, bytes, kind, &default_stream(), CopyMode::kWaits);
  });
}

cudaError_t cudaMemcpyFromSymbol(void* to, const void* symbol, size_t bytes, size_t offset,
                                 cudaMemcpyKind kind) {
  return api_call("cudaMemcpyFromSymbol", [&] {
    const uint8_t* from = symbol_address(symbol);
    if (!from) return cudaErrorInvalidSymbol;
    return copy_plain(to, from + offset, bytes, kind, &default_stream(), CopyMode::kWaits);
  });
}

cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, size_t bytes, size_t offset,
                                    cudaMemcpyKind kind, cudaStream_t stream) {
  return api_call("cudaMemcpyToSymbolAsync", [&] {
    uint8_t* to = symbol_address(symbol);
    if (!to) return cudaErrorInvalidSymbol;
    return copy_plain(to + offset, from, bytes, kind, stream_of(stream), CopyMode::kMayWait);
  });
}

cudaError_t cudaMemcpyFromSymbolAsync(void* to, const void* symbol, size_t bytes, size_t offset,
                                      cudaMemcpyKind kind, cudaStream_t stream) {
  return api_call("cudaMemcpyFromSymbolAsync", [&] {
    const uint8_t* from = symbol_address(symbol);
    if (!from) return cudaErrorInvalidSymbol;
    return copy_plain(to, from + offset, bytes, kind, stream_of(stream), CopyMode::kMayWait);
  });
}

}  // extern "C"
