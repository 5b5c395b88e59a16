#pragma once

#include <array>
#include <cstdint>

#include "tests/vgpu/machine/block.h"
#include "tests/vgpu/memory/global_touch.h"
#include "tests/vgpu/ptx/module.h"

namespace trireme::vgpu {

constexpr uint32_t kWidestAccess = 16;  // bytes of one lane

using LaneValues = std::array<std::array<uint8_t, kWidestAccess>, kWarpSize>;

// One memory instruction of a warp.
struct WarpAccess {
  LaneMask active = 0;
  uint32_t bytes = 0;  // of each lane, a power of two
  Access kind = Access::kRead;
  std::array<uint64_t, kWarpSize> address;
  const LaneValues* stored = nullptr;  // of a plain store: what it writes
  bool whole_warp_reads = false;       // ldmatrix: every lane gets something of every row
  std::array<uint8_t*, kWarpSize> at;  // result: where the bytes are

  bool writes() const { return kind == Access::kWrite || kind == Access::kSyncWrite; }
};

// Checks the access in every way, notes and counts it, fills in `at`, and executes it if it is a store.
// Addresses count from the start of the space.
void access(Warp& w, const Instr& i, ptx::Space space, WarpAccess& a);

// How blocks wait for each other (BlockOrder).  Before an atomic or volatile write; a fence comes first,
// `with_fence`.
void publish_to_blocks(Warp& w, const WarpAccess& a, ptx::Space space, bool with_fence);
// After an atomic or volatile read.
void take_over_from_blocks(Warp& w, const WarpAccess& a, ptx::Space space);

// address[l] = base + displacement, in all lanes.
void fill_addresses(const Warp& w, Lanes base, int64_t displacement, WarpAccess& a);

// Blocks on other threads may touch the same memory at the same time, as the program's flags and counters
// are.
template <class T>
T load_relaxed(const uint8_t* at) {
  return __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_RELAXED);
}

// Where the byte of a generic address is, without checks; null if nowhere.
uint8_t* find_byte(Warp& w, int lane, uint64_t address);

// Marks `bytes` of shared memory as on their way, or as landed.  The first counts as a write of the lane,
// too.
void start_async_copy(Warp& w, const Instr& i, const AsyncCopy& copy);
void land_async_copy(Warp& w, const AsyncCopy& copy);

}  // namespace trireme::vgpu
