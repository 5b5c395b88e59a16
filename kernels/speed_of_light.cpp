#include "kernels/speed_of_light.h"

#include <algorithm>
#include <chrono>

#include <glog/logging.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/multiply_adds.h"
#include "kernels/cuda/speed_of_light.h"
#include "kernels/threads.h"

namespace trireme {

TRIREME_DECLARE_CPU(multiply_adds)

namespace {

double measure() {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double best = 0.0;
  do {
    const auto start = Clock::now();
    const double flops = TRIREME_CPU(multiply_adds)();
    best = std::max(best, flops / std::chrono::duration<double>(Clock::now() - start).count());
  } while (Clock::now() - begin < std::chrono::milliseconds(50));
  return best;
}

}  // namespace

double peak_flops(Device device, DType dtype) {
  if constexpr (kHasCuda) {
    if (!device.is_cpu()) return cuda::peak_flops(device, dtype);
  }
  CHECK(device.is_cpu() && dtype == DType::kFloat32)
      << "peak_flops of " << name(dtype) << " on " << device.to_string();
  static const double peak = measure();
  return peak;
}

std::string device_words(Device device) {
  if constexpr (kHasCuda) {
    if (!device.is_cpu()) return cuda::device_words(device);
  }
  CHECK(device.is_cpu()) << device.to_string();
  return std::to_string(num_threads()) + (num_threads() == 1 ? " thread" : " threads") + " of the CPU";
}

}  // namespace trireme
