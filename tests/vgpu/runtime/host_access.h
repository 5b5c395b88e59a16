#pragma once

namespace trireme::vgpu {

// From now on a host access to an address of a device is reported instead of a bare segmentation fault.
void watch_host_accesses();

}  // namespace trireme::vgpu
