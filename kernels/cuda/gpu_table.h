// GPUs whose data sheets we have read.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "kernels/dtype.h"

namespace trireme::cuda {

struct KnownGpu {
  const char* name;           // as cudaGetDeviceProperties gives it
  int num_multiprocessors;    // a name may have several; and a part of a GPU (MIG) has fewer
  double bfloat16_teraflops;  // tensor cores, sums in float32, without sparsity
  double float32_teraflops;   // plain cores
};

std::span<const KnownGpu> known_gpus();

// FLOP/s by the table, or nothing: the whole name and the multiprocessors must be those of an entry.
std::optional<double> documented_flops(std::string_view name, int num_multiprocessors, DType dtype);

}  // namespace trireme::cuda
