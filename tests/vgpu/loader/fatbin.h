#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace trireme::vgpu {

// What the virtual GPU takes from the device code that nvcc put into a binary.
struct DeviceCode {
  std::string ptx;                       // empty if there is none
  std::map<std::string, int> registers;  // kernel -> registers per thread, of the cubin if there is one
};

// Reads the structure that __cudaRegisterFatBinary gets.  Of several PTX texts it takes the newest that a
// device of compute capability `newest_sm` (80 for 8.0) can run.  Refuses what it can't read.
DeviceCode read_fatbin(const void* fatbin_wrapper, int newest_sm);

}  // namespace trireme::vgpu
