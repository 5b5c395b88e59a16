#include "kernels/cuda/kernel.h"

namespace trireme::cuda {
namespace {

// Kernels of other files are made before main(), in any order.
std::vector<const KernelShape*>& shapes() {
  static std::vector<const KernelShape*> shapes;
  return shapes;
}

}  // namespace

KernelShape::KernelShape(const void* kernel, int num_threads, int shared_bytes)
    : function_(kernel), threads_(num_threads), dynamic_shared_bytes_(shared_bytes) {
  shapes().push_back(this);
}

const std::vector<const KernelShape*>& KernelShape::all() {
  return shapes();
}

}  // namespace trireme::cuda
