#pragma once

#include <cstddef>

namespace trireme::vgpu {

// What the virtual GPU says it is, after an A100.  Its compute capability is a setting.
constexpr int kNumMultiprocessors = 108;
constexpr int kMaxThreadsPerBlock = 1024;
constexpr int kMaxBlockExtent[] = {1024, 1024, 64};
constexpr int kMaxGridExtent[] = {2147483647, 65535, 65535};
constexpr int kMaxThreadsPerMultiprocessor = 2048;
constexpr int kMaxBlocksPerMultiprocessor = 32;
constexpr int kRegistersPerMultiprocessor = 65536;
constexpr size_t kSharedBytesPerMultiprocessor = 164 * 1024;
constexpr size_t kReservedSharedBytesPerBlock = 1024;
constexpr size_t kSharedBytesPerBlock = 48 * 1024;
constexpr size_t kOptInSharedBytesPerBlock = 163 * 1024;

}  // namespace trireme::vgpu
