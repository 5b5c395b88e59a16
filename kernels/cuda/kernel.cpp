#include "kernels/cuda/kernel.h"

#include "kernels/cuda/check.h"

namespace trireme::cuda {
namespace {

// Kernels of other files are made before main(), in any order.
std::vector<const KernelShape*>& shapes() {
  static std::vector<const KernelShape*> shapes;
  return shapes;
}

}  // namespace

void launch_kernel(const void* kernel, dim3 grid, dim3 block, std::int64_t dynamic_shared_bytes,
                   void** arguments, const StreamState& stream) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  // More than every block may have must be asked for, on each device.
  constexpr std::int64_t kAlwaysAllowed = 48 << 10;
  if (dynamic_shared_bytes > kAlwaysAllowed) {
    TRIREME_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(dynamic_shared_bytes)));
  }
  TRIREME_CUDA(cudaLaunchKernel(kernel, grid, block, arguments,
                                static_cast<std::size_t>(dynamic_shared_bytes), stream.handle()));
}

KernelShape::KernelShape(const void* kernel, int num_threads, int shared_bytes)
    : function_(kernel), threads_(num_threads), dynamic_shared_bytes_(shared_bytes) {
  shapes().push_back(this);
}

const std::vector<const KernelShape*>& KernelShape::all() {
  return shapes();
}

}  // namespace trireme::cuda
