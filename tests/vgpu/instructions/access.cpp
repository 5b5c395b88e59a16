#include "tests/vgpu/instructions/access.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/instructions/traffic.h"
#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/memory/mappings.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

using ptx::Space;

const char* verb(const WarpAccess& a) {
  if (a.kind == Access::kSyncWrite) return "atomic access";
  return a.writes() ? "write" : "read";
}

std::string what(const WarpAccess& a, int lane) {
  return text(verb(a), " of ", a.bytes, " bytes at 0x", std::hex, a.address[lane], std::dec);
}

void check_alignment(Warp& w, const Instr& i, const WarpAccess& a) {
  uint64_t any = 0;
  for (int lane = 0; lane < kWarpSize; ++lane) any |= a.active >> lane & 1 ? a.address[lane] : 0;
  if (!(any & (a.bytes - 1))) return;
  for_each_lane(a.active, [&](int lane) {
    if (a.address[lane] & (a.bytes - 1))
      give_up(Finding::kMisaligned, text(what(a, lane), ", which is no multiple of ", a.bytes),
              w.where(i, lane));
  });
}

template <class T>
void store_relaxed(uint8_t* at, const uint8_t* value) {
  T x;
  std::memcpy(&x, value, sizeof(T));
  __atomic_store_n(reinterpret_cast<T*>(at), x, __ATOMIC_RELAXED);
}

void store_lane(const WarpAccess& a, int lane) {
  uint8_t* at = a.at[lane];
  const uint8_t* value = (*a.stored)[lane].data();
  switch (a.bytes) {
    case 1:
      return store_relaxed<uint8_t>(at, value);
    case 2:
      return store_relaxed<uint16_t>(at, value);
    case 4:
      return store_relaxed<uint32_t>(at, value);
    default:
      for (uint32_t n = 0; n < a.bytes; n += 8) store_relaxed<uint64_t>(at + n, value + n);
  }
}

// The lowest byte of `bytes` whose state is not `state`, or `bytes`.
uint32_t first_other(const uint8_t* states, uint32_t bytes, uint8_t state) {
  uint32_t n = 0;
  while (n < bytes && states[n] == state) ++n;
  return n;
}

// --- Global memory. ---

[[noreturn, gnu::cold]] void report_address(Warp& w, const Instr& i, const WarpAccess& a, int lane) {
  AddressSpace& space = AddressSpace::get();
  const uint64_t address = a.address[lane];
  const Region* region = space.find(address);
  if (!region && address < 4096)
    give_up(Finding::kOutOfBounds, text(what(a, lane), ", close to a null pointer"), w.where(i, lane));
  if (!region)
    give_up(Finding::kHostPointer, text(what(a, lane), ", which is no address of a device"),
            w.where(i, lane));
  if (const Allocation* whole = region->find(address); whole && whole->is_reserved)
    give_up(Finding::kUnmapped, text(what(a, lane), ": ", region->describe(address)), w.where(i, lane));
  const bool freed = region->was_freed(address);
  uint64_t first = address;
  while (first < address + a.bytes - 1 && *region->state(first) != kNoMemory) ++first;
  give_up(freed ? Finding::kUseAfterFree : Finding::kOutOfBounds,
          text(what(a, lane), ": ", region->describe(first)), w.where(i, lane));
}

[[gnu::cold]] void report_global_race(Warp& w, const Instr& i, const WarpAccess& a, int lane,
                                      const Region& region, const Conflict& c) {
  const std::string place = text(what(a, lane), " (", region.describe(a.address[lane]), ")");
  const char* other = c.kind == Conflict::Kind::kRead ? "read" : "write";
  Block& block = w.block();
  if (c.kind == Conflict::Kind::kReadOnlyLoad)
    complain(Finding::kGlobalRace,
             text(place, " through the read-only cache, although the kernel writes there"), w.where(i, lane));
  else if (c.op != block.actor().op)
    complain(Finding::kMissingEvent,
             text(place, " is not ordered after a ", other, " by ", Timeline::get().describe(c.op)),
             w.where(i, lane));
  else
    complain(Finding::kGlobalRace,
             text(place, " races with a ", other, " by block ",
                  to_string(unflatten(c.block, block.launch().grid)), c.many_blocks ? " and others" : ""),
             w.where(i, lane));
}

void check_owner(Warp& w, const Instr& i, const WarpAccess& a, int lane, const Region& region) {
  const Launch& launch = w.block().launch();
  if (region.device() < 0 || region.device() == launch.device || launch.peers >> region.device() & 1) return;
  give_up(Finding::kOtherDevice,
          text(what(a, lane), ", which is on device ", region.device(), ", by a kernel on device ",
               launch.device),
          w.where(i, lane));
}

void check_global_state(Warp& w, const Instr& i, const WarpAccess& a, int lane, Region& region) {
  uint8_t* states = region.state(a.address[lane]);
  if (first_other(states, a.bytes, kWritten) == a.bytes) return;
  for (uint32_t n = 0; n < a.bytes; ++n)
    if (states[n] == kNoMemory) report_address(w, i, a, lane);
  if (a.stored) {
    std::memset(states, kWritten, a.bytes);
    return;
  }
  complain(Finding::kUninitialisedGlobal,
           text(what(a, lane), " that nobody has written (", region.describe(a.address[lane]), ")"),
           w.where(i, lane));
}

void access_global(Warp& w, const Instr& i, WarpAccess& a) {
  AddressSpace& space = AddressSpace::get();
  Actor& actor = w.block().actor();
  Region* region = nullptr;
  uint64_t last_region_base = 0;
  for_each_lane(a.active, [&](int lane) {
    const uint64_t address = a.address[lane];
    if (!region || address - last_region_base >= Region::kBytes) {
      region = space.find(address);
      if (!region) {
        if (!space.is_registered(address, a.bytes)) report_address(w, i, a, lane);
        a.at[lane] = reinterpret_cast<uint8_t*>(address);
        if (a.stored) store_lane(a, lane);
        return;
      }
      last_region_base = region->base();
      check_owner(w, i, a, lane, *region);
    }
    check_global_state(w, i, a, lane, *region);
    Mappings::get().note_use(address, a.bytes, actor.op);
    a.at[lane] = region->bytes(address);
    const Conflict conflict = touch_range(region->touch(address), actor, address, a.bytes, a.kind);
    if (conflict) {
      // Several blocks may write the same value, as in `found = true`.
      const bool harmless = conflict.kind == Conflict::Kind::kWrite && conflict.op == actor.op && a.stored &&
                            std::memcmp(a.at[lane], (*a.stored)[lane].data(), a.bytes) == 0;
      if (!harmless) report_global_race(w, i, a, lane, *region, conflict);
    }
    if (a.stored) store_lane(a, lane);
  });
  if (settings().print_counters) count_global(a, w.counters);
}

// --- Shared memory. ---

[[noreturn, gnu::cold]] void report_shared_bounds(Warp& w, const Instr& i, const WarpAccess& a, int lane) {
  give_up(
      Finding::kOutOfBounds,
      text(what(a, lane), " of shared memory, of which the block has ", w.block().shared().size(), " bytes"),
      w.where(i, lane));
}

// Not all bytes are written: wrong for a read; a store makes them so.
[[gnu::cold]] void change_shared_state(Warp& w, const Instr& i, const WarpAccess& a, int lane) {
  uint8_t* states = w.block().shared().state(static_cast<uint32_t>(a.address[lane]));
  const bool in_flight = std::find(states, states + a.bytes, SharedMemory::kInFlight) != states + a.bytes;
  if (in_flight)
    complain(Finding::kMissingWait,
             text(what(a, lane), " of shared memory, where a cp.async has not been waited for"),
             w.where(i, lane));
  else if (!a.stored)
    w.suspend(text(what(a, lane), " of shared memory that nobody has written"), w.where(i, lane));
  if (a.stored) std::memset(states, SharedMemory::kWritten, a.bytes);
}

[[gnu::cold]] void report_shared_race(Warp& w, const Instr& i, const std::string& access, int lane,
                                      const SharedMemory::Conflict& c) {
  const char* other = c.is_write ? "write" : "read";
  std::string who = text("warp ", c.other.warp());
  if (c.other.lane() != SharedMemory::kManyLanes)
    who = text("thread ", to_string(w.block().thread(c.other.warp(), c.other.lane())));
  const char* missing = c.other.warp() == w.index() ? "no __syncwarp" : "no barrier";
  complain(
      Finding::kSharedRace,
      text(access, " of shared memory races with a ", other, " by ", who, ": ", missing, " between them"),
      w.where(i, lane));
}

// One lane, or for a read all lanes that read the same, as kManyLanes.
void access_shared_lane(Warp& w, const Instr& i, WarpAccess& a, int lane, int thread_lane) {
  SharedMemory& shared = w.block().shared();
  const uint64_t address = a.address[lane];
  if (address > shared.size() || shared.size() - address < a.bytes) report_shared_bounds(w, i, a, lane);
  const auto offset = static_cast<uint32_t>(address);
  if (!shared.is_all(offset, a.bytes, SharedMemory::kWritten)) change_shared_state(w, i, a, lane);
  uint8_t* at = shared.bytes(offset);
  a.at[lane] = at;
  const SharedMemory::Thread thread(w.index(), thread_lane);
  SharedMemory::Conflict conflict;
  if (!a.writes()) {
    if (shared.read(offset, a.bytes, thread, w.clock, conflict))
      report_shared_race(w, i, what(a, lane), lane, conflict);
    return;
  }
  if (shared.write(offset, a.bytes, thread, w.clock, a.kind == Access::kSyncWrite, conflict)) {
    const bool harmless =
        conflict.is_write && a.stored && std::memcmp(at, (*a.stored)[lane].data(), a.bytes) == 0;
    if (!harmless) report_shared_race(w, i, what(a, lane), lane, conflict);
  }
  if (a.stored) store_lane(a, lane);
}

void access_shared(Warp& w, const Instr& i, WarpAccess& a) {
  if (a.writes() || a.whole_warp_reads) {
    for_each_lane(a.active, [&](int lane) {
      access_shared_lane(w, i, a, lane, a.whole_warp_reads ? SharedMemory::kManyLanes : lane);
    });
  } else {
    // Of neighbours that read the same, the second stands for all.
    int previous = -1;
    bool repeats = false;
    for_each_lane(a.active, [&](int lane) {
      const bool same = previous >= 0 && a.address[previous] == a.address[lane];
      if (same && repeats)
        a.at[lane] = a.at[previous];
      else
        access_shared_lane(w, i, a, lane, same ? SharedMemory::kManyLanes : lane);
      repeats = same;
      previous = lane;
    });
  }
  if (settings().print_counters) count_shared(a, w.counters);
}

// --- The rest. ---

void access_private(Warp& w, const Instr& i, WarpAccess& a, Space space) {
  const Kernel& kernel = w.block().kernel();
  const uint32_t size = space == Space::kLocal ? kernel.local_bytes : kernel.parameter_bytes;
  for_each_lane(a.active, [&](int lane) {
    if (a.address[lane] > size || size - a.address[lane] < a.bytes)
      give_up(Finding::kOutOfBounds,
              text(what(a, lane), space == Space::kLocal ? " of local" : " of parameter",
                   " memory, which has ", size, " bytes"),
              w.where(i, lane));
    a.at[lane] = space == Space::kLocal ? w.block().local(w.index(), lane) + a.address[lane]
                                        : const_cast<uint8_t*>(w.block().parameters()) + a.address[lane];
    if (a.stored) store_lane(a, lane);
  });
}

// The lanes whose generic addresses lie in a window, which become addresses of the window's space.
LaneMask take_window(WarpAccess& a, uint64_t window) {
  LaneMask inside = 0;
  for_each_lane(a.active, [&](int lane) {
    if (a.address[lane] - window >= AddressSpace::kWindowBytes) return;
    inside |= 1u << lane;
    a.address[lane] -= window;
  });
  return inside;
}

void access_generic(Warp& w, const Instr& i, WarpAccess& a) {
  const AddressSpace& space = AddressSpace::get();
  const LaneMask all = a.active;
  const std::pair<Space, uint64_t> windows[] = {{Space::kShared, space.shared_window()},
                                                {Space::kLocal, space.local_window()},
                                                {Space::kParam, space.param_window()}};
  LaneMask rest = all;
  for (const auto& [window_space, window] : windows) {
    a.active = rest;
    a.active = take_window(a, window);
    if (a.active) access(w, i, window_space, a);
    rest &= ~a.active;
  }
  a.active = rest;
  if (rest) access_global(w, i, a);
  a.active = all;
}

}  // namespace

void access(Warp& w, const Instr& i, Space space, WarpAccess& a) {
  check_alignment(w, i, a);
  switch (space) {
    case Space::kGlobal:
    case Space::kConst:
      return access_global(w, i, a);
    case Space::kShared:
      return access_shared(w, i, a);
    case Space::kLocal:
    case Space::kParam:
      return access_private(w, i, a, space);
    case Space::kGeneric:
      return access_generic(w, i, a);
  }
}

void publish_to_blocks(Warp& w, const WarpAccess& a, Space space, bool with_fence) {
  if (space == Space::kShared || space == Space::kLocal) return;
  Block& block = w.block();
  Actor& actor = block.actor();
  if (with_fence) actor.fence();
  for_each_lane(a.active, [&](int lane) {
    block.launch().order.publish(a.address[lane], actor.block, actor.fenced_epoch(), actor.known);
  });
}

void take_over_from_blocks(Warp& w, const WarpAccess& a, Space space) {
  if (space == Space::kShared || space == Space::kLocal) return;
  Block& block = w.block();
  for_each_lane(a.active,
                [&](int lane) { block.launch().order.take_over(a.address[lane], block.actor().known); });
}

void fill_addresses(const Warp& w, Lanes base, int64_t displacement, WarpAccess& a) {
  const uint64_t* lanes = w.at<uint64_t>(base);
  for (int l = 0; l < kWarpSize; ++l) a.address[l] = lanes[l] + displacement;
}

uint8_t* find_byte(Warp& w, int lane, uint64_t address) {
  AddressSpace& space = AddressSpace::get();
  Block& block = w.block();
  if (address - space.shared_window() < block.shared().size())
    return block.shared().bytes(static_cast<uint32_t>(address - space.shared_window()));
  if (address - space.local_window() < block.kernel().local_bytes)
    return block.local(w.index(), lane) + (address - space.local_window());
  if (space.is_registered(address, 1)) return reinterpret_cast<uint8_t*>(address);
  Region* region = space.find(address);
  return region && *region->state(address) != kNoMemory ? region->bytes(address) : nullptr;
}

void start_async_copy(Warp& w, const Instr& i, const AsyncCopy& copy) {
  SharedMemory& shared = w.block().shared();
  const auto name = [&copy] {
    return text("cp.async of ", int{copy.bytes}, " bytes to 0x", std::hex, copy.destination, std::dec);
  };
  if (copy.destination > shared.size() || shared.size() - copy.destination < copy.bytes)
    give_up(Finding::kOutOfBounds, text(name(), " of shared memory, of which the block has ", shared.size()),
            w.where(i, copy.lane));
  SharedMemory::Conflict conflict;
  if (shared.write(copy.destination, copy.bytes, {w.index(), copy.lane}, w.clock, false, conflict))
    report_shared_race(w, i, name(), copy.lane, conflict);
  std::memset(shared.state(copy.destination), SharedMemory::kInFlight, copy.bytes);
  std::memset(shared.bytes(copy.destination), 0xff, copy.bytes);
}

void land_async_copy(Warp& w, const AsyncCopy& copy) {
  SharedMemory& shared = w.block().shared();
  uint8_t* to = shared.bytes(copy.destination);
  std::memset(to, 0, copy.bytes);
  if (copy.source_bytes) std::memcpy(to, find_byte(w, copy.lane, copy.source), copy.source_bytes);
  std::memset(shared.state(copy.destination), SharedMemory::kWritten, copy.bytes);
  SharedMemory::Conflict reported_at_start;
  shared.write(copy.destination, copy.bytes, {w.index(), copy.lane}, w.clock, false, reported_at_start);
}

}  // namespace trireme::vgpu
