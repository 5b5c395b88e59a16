// Functions of the driver, which programs find by name: those that map memory.
#include <string_view>
#include <utility>

#include <cuda.h>

#include "tests/vgpu/memory/mappings.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

// The body of a function of the driver: f() under the lock of the runtime.
template <class F>
CUresult driver_call(const char* name, F f) {
  const std::lock_guard lock(RuntimeState::get().mutex);
  const char* const outer = std::exchange(current_call, name);
  const CUresult result = f();
  current_call = outer;
  return result;
}

CUresult valid(bool is_valid) {
  return is_valid ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool is_whole(uint64_t bytes) {
  return bytes > 0 && bytes % Mappings::kGranularity == 0;
}

bool is_of_device(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id >= 0 &&
         location.id < settings().num_devices;
}

CUresult granularity(size_t* bytes, const CUmemAllocationProp* properties, CUmemAllocationGranularity_flags) {
  *bytes = Mappings::kGranularity;
  return valid(properties->type == CU_MEM_ALLOCATION_TYPE_PINNED && is_of_device(properties->location));
}

// On a GPU a reservation belongs to no device; here each has addresses of its own, and the current one's are
// taken.
CUresult reserve(CUdeviceptr* address, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
  return driver_call("cuMemAddressReserve", [&] {
    if (!is_whole(bytes)) return CUDA_ERROR_INVALID_VALUE;
    Region& region = AddressSpace::get().device(current_device);
    *address = region.reserve_addresses(bytes, Mappings::kGranularity, current_call);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

CUresult free_addresses(CUdeviceptr address, size_t bytes) {
  return driver_call("cuMemAddressFree", [&] {
    Region* const region = AddressSpace::get().find(address);
    const Allocation* const reserved = region ? region->find(address) : nullptr;
    if (!reserved || !reserved->is_reserved || reserved->begin != address || reserved->bytes != bytes)
      return CUDA_ERROR_INVALID_VALUE;
    if (Mappings::get().is_any_mapped(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
    bool found = false;
    region->release(address, found);
    return CUDA_SUCCESS;
  });
}

CUresult create(CUmemGenericAllocationHandle* handle, size_t bytes, const CUmemAllocationProp* properties,
                unsigned long long) {
  return driver_call("cuMemCreate", [&] {
    if (!is_whole(bytes) || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
        !is_of_device(properties->location))
      return CUDA_ERROR_INVALID_VALUE;
    *handle = Mappings::get().create(AddressSpace::get().device(properties->location.id), bytes);
    return *handle ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

CUresult release(CUmemGenericAllocationHandle handle) {
  return driver_call("cuMemRelease", [&] { return valid(Mappings::get().release(handle)); });
}

CUresult map(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
             unsigned long long) {
  return driver_call("cuMemMap",
                     [&] { return valid(offset == 0 && Mappings::get().map(address, bytes, handle)); });
}

CUresult set_access(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* access, size_t count) {
  return driver_call("cuMemSetAccess", [&] {
    const Region* const region = AddressSpace::get().find(address);
    if (!region || count != 1 || !is_of_device(access->location)) return CUDA_ERROR_INVALID_VALUE;
    if (access->location.id != region->device() || access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
      refuse("cuMemSetAccess other than for the memory's device to read and write");
    return valid(Mappings::get().allow(address, bytes));
  });
}

CUresult unmap(CUdeviceptr address, size_t bytes) {
  return driver_call("cuMemUnmap", [&] { return valid(Mappings::get().unmap(address, bytes)); });
}

void* function_of(std::string_view name) {
  const std::pair<std::string_view, void*> functions[] = {
      {"cuMemGetAllocationGranularity", reinterpret_cast<void*>(&granularity)},
      {"cuMemAddressReserve", reinterpret_cast<void*>(&reserve)},
      {"cuMemAddressFree", reinterpret_cast<void*>(&free_addresses)},
      {"cuMemCreate", reinterpret_cast<void*>(&create)},
      {"cuMemRelease", reinterpret_cast<void*>(&release)},
      {"cuMemMap", reinterpret_cast<void*>(&map)},
      {"cuMemSetAccess", reinterpret_cast<void*>(&set_access)},
      {"cuMemUnmap", reinterpret_cast<void*>(&unmap)},
  };
  for (const auto& [known, function] : functions)
    if (known == name) return function;
  return nullptr;
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long, cudaDriverEntryPointQueryResult* status) {
  return api_call("cudaGetDriverEntryPointByVersion", [&] {
    *function = function_of(symbol);
    if (!*function) refuse(text("the driver's function ", symbol));
    if (status) *status = cudaDriverEntryPointSuccess;
    return cudaSuccess;
  });
}

}  // extern "C"
