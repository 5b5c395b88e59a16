// Where memory lies and arithmetic runs.
#pragma once

#include <cstdint>

namespace trireme {

enum class DeviceType : std::uint8_t { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;  // which of the node's devices of this type; always 0 for the CPU

  bool operator==(const Device&) const = default;
  bool is_cpu() const { return type == DeviceType::kCpu; }
};

}  // namespace trireme
