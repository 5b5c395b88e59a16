// What a device can do at most: the denominator of every "share of peak" that Trireme prints.
#pragma once

#include <string>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace trireme {

// Multiply-adds per second times two, of products of `dtype` that are summed in float32.
//
// Of the CPU (float32): all threads that ops use now, found by running independent fused multiply-adds out of
// registers for about 50 ms; the best of several runs.
//
// Of a CUDA device: what its maker's data sheet says (kernels/cuda/gpu_table.h), for bfloat16 of the tensor
// cores without sparsity, for float32 of the plain cores, which is where our products run.  Of a device that
// isn't known with that name and number of multiprocessors (a part of one, a variant, a new one), the best
// rate of a large matrix product, measured in less than a second.
//
// Found once per process, device and type, and kept.
double peak_flops(Device device, DType dtype);

// For people: "NVIDIA H100 80GB HBM3, 132 SMs, 79 GiB"; of the CPU, "2 threads of the CPU".
std::string device_words(Device device);

}  // namespace trireme
