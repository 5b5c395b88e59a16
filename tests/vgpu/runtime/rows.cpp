#include "tests/vgpu/runtime/rows.h"

#include <cstring>

#include "tests/vgpu/memory/mappings.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"

namespace trireme::vgpu {
namespace {

void check_mapped(const Side& side, size_t width, size_t height) {
  for (size_t n = 0; n < height; ++n) {
    const uint64_t row = side.rows.row(n);
    const uint64_t first = Mappings::get().first_unmapped(row, width);
    if (first < row + width)
      give_up(Finding::kUnmapped, text(width, " bytes in ", height, " rows: ", side.region->describe(first)),
              where_called());
  }
}

// All rows must lie in one live allocation.
void check_bounds(const Side& side, size_t width, size_t height) {
  if (!side.region) return;
  const uint64_t begin = side.rows.begin;
  const uint64_t last = side.rows.row(height - 1) + width - 1;
  const Allocation* a = side.region->find(begin);
  if (a && last - a->begin < a->bytes) {
    if (a->is_reserved) check_mapped(side, width, height);
    return;
  }
  const bool freed = side.region->was_freed(begin);
  give_up(freed ? Finding::kUseAfterFree : Finding::kOutOfBounds,
          text(width, " bytes in ", height, " rows: ", side.region->describe(a ? last : begin)),
          where_called());
}

}  // namespace

Side side_of(const void* pointer, size_t pitch, size_t width, size_t height) {
  AddressSpace& space = AddressSpace::get();
  Side side;
  side.rows = {reinterpret_cast<uint64_t>(pointer), pitch};
  side.region = space.find(side.rows.begin);
  side.is_device = space.is_device(side.rows.begin);
  side.is_pageable = !side.region && !space.is_registered(side.rows.begin, pitch * (height - 1) + width);
  check_bounds(side, width, height);
  return side;
}

uint8_t* bytes_at(const Side& side, uint64_t address) {
  return side.region ? side.region->bytes(address) : reinterpret_cast<uint8_t*>(address);
}

void check_order(const Side& side, const Running& running, size_t width, size_t height, Access access,
                 const std::string& call) {
  if (!side.region) return;
  Actor actor;
  actor.op = running.id;
  actor.clock = &running.clock;
  for (size_t n = 0; n < height; ++n) {
    const uint64_t address = side.rows.row(n);
    Mappings::get().note_use(address, width, running.id);
    const Conflict c = touch_range(side.region->touch(address), actor, address, width, access);
    if (c)
      complain(
          Finding::kMissingEvent,
          text(access == Access::kRead ? "read" : "write", " of ", width, " bytes (",
               side.region->describe(address), ") is not ordered after a ",
               c.kind == Conflict::Kind::kRead ? "read" : "write", " by ", Timeline::get().describe(c.op)),
          call);
  }
}

void check_written(const Side& from, size_t width, size_t height, const std::string& what,
                   const std::string& call) {
  for (size_t n = 0; n < height; ++n) {
    const uint8_t* states = from.region->state(from.rows.row(n));
    const auto fresh = static_cast<const uint8_t*>(std::memchr(states, kFresh, width));
    if (fresh)
      complain(Finding::kUninitialisedGlobal,
               text(what, " of what nobody has written: ",
                    from.region->describe(from.rows.row(n) + (fresh - states))),
               call);
  }
}

}  // namespace trireme::vgpu
