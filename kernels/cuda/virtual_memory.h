// Addresses and memory of a CUDA device apart from each other, as its driver gives them.  Sizes and addresses
// are multiples of memory_granularity().  Errors are fatal.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/device.h"

namespace trireme::cuda {

using MemoryHandle = unsigned long long;

std::int64_t memory_granularity(Device device);

void* reserve_addresses(std::int64_t size_bytes, Device device);
// REQUIRES: nothing is mapped there.
void free_addresses(void* addresses, std::int64_t size_bytes);

// Empty when there is no more.
std::optional<MemoryHandle> create_memory(std::int64_t size_bytes, Device device);
// It is the device's again when it is mapped nowhere.
void release_memory(MemoryHandle memory);

// All of the memory, which may be mapped elsewhere, too.  It can be used after allow_access(), of one or
// several neighbours.
void map_memory(void* addresses, std::int64_t size_bytes, MemoryHandle memory);
void allow_access(void* addresses, std::int64_t size_bytes, Device device);
// Of one mapping or several neighbours.  REQUIRES: work that uses them is done.
void unmap_memory(void* addresses, std::int64_t size_bytes);

}  // namespace trireme::cuda
