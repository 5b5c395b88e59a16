// What this machine can do at most, measured: the denominator of every "share of peak" that Trireme prints.
#pragma once

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace trireme {

// Multiply-adds per second times two, of all threads that ops use now, found by running independent fused
// multiply-adds out of registers for about 50 ms; the best of several runs.  Measured once per process and
// kept.
double peak_flops(Device device, DType dtype);

}  // namespace trireme
