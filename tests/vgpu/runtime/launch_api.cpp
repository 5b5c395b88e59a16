#include <algorithm>
#include <cstring>
#include <memory>

#include "tests/vgpu/machine/block.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/device.h"
#include "tests/vgpu/runtime/modules.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

struct Configuration {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};
thread_local std::vector<Configuration> configurations;  // of <<<>>> whose kernel is not yet called

[[noreturn]] void over_limit(const Kernel& kernel, const std::string& what) {
  give_up(Finding::kLaunchLimits, what, text("  kernel   ", kernel.readable_name, "\n", where_called()));
}

// Registers of a warp come in units.
int registers_per_block(const Kernel& kernel, uint64_t threads) {
  constexpr int kUnit = 256;
  const int per_warp = (kernel.num_registers * kWarpSize + kUnit - 1) / kUnit * kUnit;
  return per_warp * static_cast<int>((threads + kWarpSize - 1) / kWarpSize);
}

void check_limits(const Kernel& k, const Configuration& c) {
  const unsigned grid[] = {c.grid.x, c.grid.y, c.grid.z};
  const unsigned block[] = {c.block.x, c.block.y, c.block.z};
  for (int i = 0; i < 3; ++i) {
    if (grid[i] == 0 || grid[i] > static_cast<unsigned>(kMaxGridExtent[i]))
      over_limit(k, text("a grid of ", c.grid.x, "x", c.grid.y, "x", c.grid.z, " blocks"));
    if (block[i] == 0 || block[i] > static_cast<unsigned>(kMaxBlockExtent[i]))
      over_limit(k, text("a block of ", c.block.x, "x", c.block.y, "x", c.block.z, " threads"));
  }
  const uint64_t threads = uint64_t{c.block.x} * c.block.y * c.block.z;
  if (threads > k.max_threads)
    over_limit(k, text(threads, " threads in a block, where ", k.max_threads, " are allowed"));
  if (k.required_threads && threads != k.required_threads)
    over_limit(k, text(threads, " threads in a block, where ", k.required_threads, " are required"));
  if (registers_per_block(k, threads) > kRegistersPerMultiprocessor)
    over_limit(k, text(threads, " threads of ", k.num_registers, " registers in a block"));
  if (c.shared_bytes > static_cast<size_t>(k.max_dynamic_shared_bytes))
    over_limit(k, text(c.shared_bytes, " bytes of dynamic shared memory, where cudaFuncSetAttribute allows ",
                       k.max_dynamic_shared_bytes));
  if (k.max_dynamic_shared_bytes <= static_cast<int>(kSharedBytesPerBlock) &&
      k.shared_bytes + c.shared_bytes > kSharedBytesPerBlock)
    over_limit(k,
               text(k.shared_bytes + c.shared_bytes, " bytes of shared memory without cudaFuncSetAttribute"));
  constexpr uint64_t kMostBlocks = 1 << 24;
  if (uint64_t{c.grid.x} * c.grid.y * c.grid.z > kMostBlocks) refuse("a grid of more than 2^24 blocks");
}

cudaError_t launch(const Modules::Function* function, const Configuration& c, void** arguments) {
  if (!function) return cudaErrorInvalidDeviceFunction;
  Stream* stream = stream_of(c.stream);
  if (!stream) return cudaErrorInvalidResourceHandle;
  const cudaError_t error = Streams::get().refuse_use(*stream);
  if (error != cudaSuccess) return error;
  Kernel& kernel = *function->kernel;
  check_limits(kernel, c);
  if (stream->device() != current_device)
    give_up(Finding::kOtherDevice,
            text("a stream of device ", stream->device(), ", where the current device is ", current_device),
            text("  kernel   ", kernel.readable_name, "\n"));
  const auto launch = std::make_shared<Launch>();
  launch->kernel = &kernel;
  launch->grid = {c.grid.x, c.grid.y, c.grid.z};
  launch->threads = {c.block.x, c.block.y, c.block.z};
  launch->dynamic_shared_bytes = static_cast<uint32_t>(c.shared_bytes);
  launch->device = current_device;
  launch->peers = RuntimeState::get().peers[current_device];
  launch->variables = &function->module->variables(current_device);
  launch->parameters.resize(kernel.parameter_bytes);
  for (size_t i = 0; i < kernel.parameters.size(); ++i)
    std::memcpy(launch->parameters.data() + kernel.parameters[i].offset, arguments[i],
                kernel.parameters[i].bytes);
  if (!stream->capture()) ++RuntimeState::get().counters.launches;
  Streams::get().submit(*stream, text("kernel ", kernel.readable_name), [launch](const Running& running) {
    launch->op = running.id;
    launch->clock = &running.clock;
    run(*launch);
    if (launch->trap) RuntimeState::get().sticky = static_cast<cudaError_t>(launch->trap.load());
  });
  return cudaSuccess;
}

// How many blocks fit on a multiprocessor.
int occupancy(const Kernel& k, int threads, size_t dynamic_shared_bytes) {
  if (threads < 1 || threads > static_cast<int>(k.max_threads)) return 0;
  const int warps = (threads + kWarpSize - 1) / kWarpSize;
  int blocks = std::min(kMaxBlocksPerMultiprocessor, kMaxThreadsPerMultiprocessor / kWarpSize / warps);
  const int registers = registers_per_block(k, threads);
  if (registers) blocks = std::min(blocks, kRegistersPerMultiprocessor / registers);
  const size_t shared = k.shared_bytes + dynamic_shared_bytes + kReservedSharedBytesPerBlock;
  return std::min(blocks, static_cast<int>(kSharedBytesPerMultiprocessor / shared));
}

cudaFuncAttributes attributes_of(const Kernel& k) {
  cudaFuncAttributes a = {};
  a.sharedSizeBytes = k.shared_bytes;
  a.localSizeBytes = k.local_bytes;
  a.maxThreadsPerBlock = static_cast<int>(k.max_threads);
  a.numRegs = k.num_registers;
  a.ptxVersion = settings().compute_capability;
  a.binaryVersion = settings().compute_capability;
  a.maxDynamicSharedSizeBytes = k.max_dynamic_shared_bytes;
  return a;
}

template <class F>
cudaError_t with_kernel(const char* name, const void* function, F f) {
  return api_call(name, [&] {
    const Modules::Function* found = Modules::get().function(function);
    return found ? f(*found->kernel) : cudaErrorInvalidDeviceFunction;
  });
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

#pragma GCC visibility push(default)
extern "C" {

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
  configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
  if (configurations.empty()) return cudaErrorInvalidConfiguration;
  const Configuration c = configurations.back();
  configurations.pop_back();
  *grid = c.grid;
  *block = c.block;
  *shared_bytes = c.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = c.stream;
  return cudaSuccess;
}

// A handle is the host function itself.
cudaError_t __cudaGetKernel(cudaKernel_t* handle, const void* function) {
  *handle = static_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void** arguments,
                               size_t shared_bytes, cudaStream_t stream) {
  return cudaLaunchKernel(handle, grid, block, arguments, shared_bytes, stream);
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t stream) {
  return api_call("cudaLaunchKernel", [&] {
    return launch(Modules::get().function(function), {grid, block, shared_bytes, stream}, arguments);
  });
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* function, void** arguments) {
  return api_call("cudaLaunchKernelExC", [&] {
    if (c->numAttrs != 0) return cudaErrorNotSupported;
    return launch(Modules::get().function(function),
                  {c->gridDim, c->blockDim, c->dynamicSmemBytes, c->stream}, arguments);
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  return with_kernel("cudaFuncGetAttributes", function, [&](const Kernel& k) {
    *attributes = attributes_of(k);
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetName(const char** name, const void* function) {
  return with_kernel("cudaFuncGetName", function, [&](const Kernel& k) {
    *name = k.name.c_str();
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute name, int value) {
  return with_kernel("cudaFuncSetAttribute", function, [&](Kernel& k) {
    if (name == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (name != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorNotSupported;
    if (value < 0 || k.shared_bytes + static_cast<size_t>(value) > kOptInSharedBytesPerBlock)
      return cudaErrorInvalidValue;
    k.max_dynamic_shared_bytes = value;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetCacheConfig(const void* function, cudaFuncCache) {
  return with_kernel("cudaFuncSetCacheConfig", function, [](const Kernel&) { return cudaSuccess; });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads,
                                                          size_t shared_bytes) {
  return with_kernel("cudaOccupancyMaxActiveBlocksPerMultiprocessor", function, [&](const Kernel& k) {
    *blocks = occupancy(k, threads, shared_bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* function,
                                                                   int threads, size_t shared_bytes,
                                                                   unsigned) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared_bytes);
}

}  // extern "C"
#pragma GCC visibility pop
