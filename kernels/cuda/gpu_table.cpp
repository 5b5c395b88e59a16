#include "kernels/cuda/gpu_table.h"

#include <array>
#include <string>

#include <glog/logging.h>

namespace trireme::cuda {
namespace {

// NVIDIA's data sheets of the products, and its architecture white papers (GA100, GA102, AD102, GH100, RTX
// Blackwell).  Where a sheet gives a tensor rate with sparsity only, this is the half.  GPUs before compute
// capability 8.0 are left out, for our kernels don't run there; so are those without a sheet of the maker's
// (A10G, H20).
constexpr std::array kGpus = {
    // Ampere
    KnownGpu{"NVIDIA A100-SXM4-40GB", 108, 312, 19.5},
    KnownGpu{"NVIDIA A100-SXM4-80GB", 108, 312, 19.5},
    KnownGpu{"NVIDIA A100-PCIE-40GB", 108, 312, 19.5},
    KnownGpu{"NVIDIA A100 80GB PCIe", 108, 312, 19.5},
    KnownGpu{"NVIDIA A800-SXM4-40GB", 108, 312, 19.5},
    KnownGpu{"NVIDIA A800-SXM4-80GB", 108, 312, 19.5},
    KnownGpu{"NVIDIA A800 80GB PCIe", 108, 312, 19.5},
    KnownGpu{"NVIDIA A30", 56, 165, 10.3},
    KnownGpu{"NVIDIA A40", 84, 149.7, 37.4},
    KnownGpu{"NVIDIA A10", 72, 125, 31.2},
    KnownGpu{"NVIDIA RTX A6000", 84, 154.8, 38.7},
    KnownGpu{"NVIDIA GeForce RTX 3080", 68, 59.5, 29.8},
    KnownGpu{"NVIDIA GeForce RTX 3090", 82, 71, 35.6},
    KnownGpu{"NVIDIA GeForce RTX 3090 Ti", 84, 80, 40},
    // Ada
    KnownGpu{"NVIDIA L4", 58, 121, 30.3},
    KnownGpu{"NVIDIA L40", 142, 181, 90.5},
    KnownGpu{"NVIDIA L40S", 142, 366, 91.6},
    KnownGpu{"NVIDIA RTX 6000 Ada Generation", 142, 364.2, 91.1},
    KnownGpu{"NVIDIA GeForce RTX 4080", 76, 97.5, 48.7},
    KnownGpu{"NVIDIA GeForce RTX 4090", 128, 165.2, 82.6},
    // Hopper.  Tensor rates are for lower clocks than the plain ones.
    KnownGpu{"NVIDIA H100 80GB HBM3", 132, 989.4, 66.9},
    KnownGpu{"NVIDIA H100 PCIe", 114, 756, 51.2},
    KnownGpu{"NVIDIA H100 NVL", 132, 835.5, 60},
    KnownGpu{"NVIDIA H800", 132, 989.4, 66.9},
    KnownGpu{"NVIDIA H800 PCIe", 114, 756, 51.2},
    KnownGpu{"NVIDIA H200", 132, 989.4, 66.9},
    KnownGpu{"NVIDIA H200 NVL", 132, 835.5, 60},
    KnownGpu{"NVIDIA GH200 480GB", 132, 989.4, 66.9},
    // Blackwell
    KnownGpu{"NVIDIA B200", 148, 2250, 75},
    KnownGpu{"NVIDIA GB200", 152, 2500, 80},
    KnownGpu{"NVIDIA GeForce RTX 5080", 84, 112.6, 56.3},
    KnownGpu{"NVIDIA GeForce RTX 5090", 170, 209.5, 104.8},
};

// Drivers before 2021 left the maker out.
std::string_view without_maker(std::string_view name) {
  constexpr std::string_view kMaker = "NVIDIA ";
  if (name.starts_with(kMaker)) name.remove_prefix(kMaker.size());
  return name;
}

}  // namespace

std::span<const KnownGpu> known_gpus() {
  return kGpus;
}

std::optional<double> documented_flops(std::string_view name, int num_multiprocessors, DType dtype) {
  CHECK(dtype == DType::kFloat32 || dtype == DType::kBfloat16) << "peak_flops of " << trireme::name(dtype);
  for (const KnownGpu& gpu : kGpus) {
    if (without_maker(gpu.name) != without_maker(name) || gpu.num_multiprocessors != num_multiprocessors)
      continue;
    return 1e12 * (dtype == DType::kBfloat16 ? gpu.bfloat16_teraflops : gpu.float32_teraflops);
  }
  return std::nullopt;
}

}  // namespace trireme::cuda
