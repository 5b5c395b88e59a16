#include "kernels/cuda/virtual_memory.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <glog/logging.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {
namespace {

// The driver's function of that name, found by way of the runtime: linking to the driver's library would keep
// the program from starting where there is none.
template <typename Function>
Function* driver_function(const char* name) {
  constexpr unsigned kCuda10_2 = 10020;  // the first that has them
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  TRIREME_CUDA(cudaGetDriverEntryPointByVersion(name, &function, kCuda10_2, cudaEnableDefault, &found));
  CHECK(found == cudaDriverEntryPointSuccess && function != nullptr) << "the CUDA driver has no " << name;
  return reinterpret_cast<Function*>(function);
}

struct Driver {
#define TRIREME_DRIVER_FUNCTION(name) decltype(::name)* name = driver_function<decltype(::name)>(#name)
  TRIREME_DRIVER_FUNCTION(cuMemGetAllocationGranularity);
  TRIREME_DRIVER_FUNCTION(cuMemAddressReserve);
  TRIREME_DRIVER_FUNCTION(cuMemAddressFree);
  TRIREME_DRIVER_FUNCTION(cuMemCreate);
  TRIREME_DRIVER_FUNCTION(cuMemRelease);
  TRIREME_DRIVER_FUNCTION(cuMemMap);
  TRIREME_DRIVER_FUNCTION(cuMemSetAccess);
  TRIREME_DRIVER_FUNCTION(cuMemUnmap);
#undef TRIREME_DRIVER_FUNCTION
};

const Driver& driver() {
  static const Driver functions;
  return functions;
}

void check(CUresult result, const char* call) {
  if (result != CUDA_SUCCESS) LOG(FATAL) << call << ": error " << result << " of the CUDA driver";
}

CUmemLocation location_of(Device device) {
  CUmemLocation location = {};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  location.id = device.index;
  return location;
}

CUmemAllocationProp properties_of(Device device) {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = location_of(device);
  return properties;
}

CUdeviceptr address(void* addresses) {
  return reinterpret_cast<CUdeviceptr>(addresses);
}

std::size_t size(std::int64_t size_bytes) {
  return static_cast<std::size_t>(size_bytes);
}

}  // namespace

std::int64_t memory_granularity(Device device) {
  make_current(device);
  const CUmemAllocationProp properties = properties_of(device);
  std::size_t bytes = 0;
  check(driver().cuMemGetAllocationGranularity(&bytes, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
        "cuMemGetAllocationGranularity");
  return static_cast<std::int64_t>(bytes);
}

void* reserve_addresses(std::int64_t size_bytes, Device device) {
  make_current(device);
  CUdeviceptr addresses = 0;
  check(driver().cuMemAddressReserve(&addresses, size(size_bytes), 0, 0, 0), "cuMemAddressReserve");
  return reinterpret_cast<void*>(addresses);
}

void free_addresses(void* addresses, std::int64_t size_bytes) {
  check(driver().cuMemAddressFree(address(addresses), size(size_bytes)), "cuMemAddressFree");
}

std::optional<MemoryHandle> create_memory(std::int64_t size_bytes, Device device) {
  make_current(device);
  const CUmemAllocationProp properties = properties_of(device);
  CUmemGenericAllocationHandle memory = 0;
  const CUresult result = driver().cuMemCreate(&memory, size(size_bytes), &properties, 0);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return std::nullopt;
  check(result, "cuMemCreate");
  return memory;
}

void release_memory(MemoryHandle memory) {
  check(driver().cuMemRelease(memory), "cuMemRelease");
}

void map_memory(void* addresses, std::int64_t size_bytes, MemoryHandle memory) {
  check(driver().cuMemMap(address(addresses), size(size_bytes), 0, memory, 0), "cuMemMap");
}

void allow_access(void* addresses, std::int64_t size_bytes, Device device) {
  CUmemAccessDesc access = {};
  access.location = location_of(device);
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  check(driver().cuMemSetAccess(address(addresses), size(size_bytes), &access, 1), "cuMemSetAccess");
}

void unmap_memory(void* addresses, std::int64_t size_bytes) {
  check(driver().cuMemUnmap(address(addresses), size(size_bytes)), "cuMemUnmap");
}

}  // namespace trireme::cuda
