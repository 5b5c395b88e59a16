#include "tests/vgpu/runtime/counters_api.h"

#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/modules.h"

using namespace trireme::vgpu;

#pragma GCC visibility push(default)
extern "C" void vgpu_counters(VgpuCounters* counters) {
  RuntimeState& state = RuntimeState::get();
  const std::lock_guard lock(state.mutex);
  *counters = state.counters;
  const Counters kernels = Modules::get().total();
  counters->global_useful_bytes = kernels.global_useful_bytes;
  counters->global_sectors = kernels.global_sectors;
}
#pragma GCC visibility pop

namespace trireme::vgpu {

std::string counters_of_process() {
  VgpuCounters c;
  vgpu_counters(&c);
  return text("vgpu: counters of the process\n", "  launches ", c.launches, ", library_calls ",
              c.library_calls, ", fills ", c.fills, "\n  copies_to_device ", c.copies_to_device,
              ", bytes_to_device ", c.bytes_to_device, "\n  copies_to_host ", c.copies_to_host,
              ", bytes_to_host ", c.bytes_to_host, "\n  copies_on_device ", c.copies_on_device,
              ", bytes_on_device ", c.bytes_on_device, "\n  graph_launches ", c.graph_launches,
              "\n  stream_waits ", c.stream_waits, ", event_waits ", c.event_waits, ", device_waits ",
              c.device_waits, ", copies_waited ", c.copies_waited, "\n  allocations ", c.allocations,
              ", frees ", c.frees, "\n");
}

}  // namespace trireme::vgpu
