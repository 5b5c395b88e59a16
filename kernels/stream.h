// The order in which a device executes work.
#pragma once

#include "kernels/device.h"

namespace trireme {

// Work given to one stream runs in the order given; every op takes its stream last.  On the CPU an op has
// run when its function returns, so a CPU stream holds nothing but its device.  Cheap to copy; owns nothing.
class Stream {
 public:
  Stream() = default;

  Device device() const { return device_; }

 private:
  Device device_;
};

}  // namespace trireme
