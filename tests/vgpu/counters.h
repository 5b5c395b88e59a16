// What the virtual GPU has counted of the process.  A test asks before and after what it measures, by
// dlsym(RTLD_DEFAULT, "vgpu_counters"): a real GPU's runtime has no such function.
#pragma once

#include <cstdint>

extern "C" {

struct VgpuCounters {
  // Work that was submitted.
  uint64_t launches;
  uint64_t library_calls;  // matrix products and the like of the libraries beside the runtime
  uint64_t fills;          // cudaMemset and its like
  uint64_t copies_to_device, bytes_to_device;
  uint64_t copies_to_host, bytes_to_host;
  uint64_t copies_on_device, bytes_on_device;
  uint64_t graph_launches;  // what is in the graph isn't counted above
  // Calls in which the host waits for a device.
  uint64_t stream_waits;   // cudaStreamSynchronize
  uint64_t event_waits;    // cudaEventSynchronize
  uint64_t device_waits;   // cudaDeviceSynchronize
  uint64_t copies_waited;  // copies that return when they are done: cudaMemcpy, and to pageable memory always
  uint64_t allocations;    // of device or pinned memory
  uint64_t frees;
  // By kernels that have been executed.
  uint64_t global_useful_bytes;  // asked for by threads, an address once per instruction
  uint64_t global_sectors;       // of 32 bytes, that carry them
};

void vgpu_counters(VgpuCounters* counters);
}
