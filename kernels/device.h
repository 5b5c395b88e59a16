// Where memory lies and arithmetic runs.
#pragma once

#include <cstdint>
#include <string>

namespace trireme {

// Whether this build has CUDA code (cmake -DTRIREME_CUDA=ON; by itself where there is an nvcc).
inline constexpr bool kHasCuda = TRIREME_HAS_CUDA;

enum class DeviceType : std::uint8_t { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;  // which of the node's devices of this type; always 0 for the CPU

  bool operator==(const Device&) const = default;
  bool is_cpu() const { return type == DeviceType::kCpu; }
  std::string to_string() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }
};

// Devices of this type that can be used: 1 for the CPU, 0 for CUDA without code, driver or GPU.
int num_devices(DeviceType type);

}  // namespace trireme
