// Live allocations of devices, by MemoryLabel.  Internal to kernels/: whoever takes memory of a device and
// gives it back says so here.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/device.h"

namespace trireme {

// Counts memory under the calling thread's label until note_release(data), by any thread.
void note_allocation(const void* data, std::int64_t size_bytes, Device device);
void note_release(const void* data);

// What is to be said when the device refuses `size_bytes` more, of whose memory `free_bytes` are free: who
// has it, and what would make them need less.
std::string out_of_memory_words(std::int64_t size_bytes, Device device, std::int64_t free_bytes,
                                std::int64_t total_bytes);

}  // namespace trireme
