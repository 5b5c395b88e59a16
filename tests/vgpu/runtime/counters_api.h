#pragma once

#include <string>

namespace trireme::vgpu {

// VgpuCounters of the process, in a few lines.
std::string counters_of_process();

}  // namespace trireme::vgpu
