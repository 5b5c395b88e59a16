// See kernels/speed_of_light.h.
#pragma once

#include <string>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace trireme::cuda {

double peak_flops(Device device, DType dtype);

// The best rate of a matrix product, as large as 10 ms or a quarter of the free memory allow.
double measured_flops(Device device, DType dtype);

std::string device_words(Device device);

}  // namespace trireme::cuda
