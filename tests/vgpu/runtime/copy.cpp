#include "tests/vgpu/runtime/copy.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"

namespace trireme::vgpu {
namespace {

// One side of a copy.
struct Side {
  Rows rows;
  Region* region = nullptr;  // null: pageable or registered memory of the host
  bool is_device = false;
  bool is_pageable = false;
};

// All rows must lie in one live allocation.
void check_bounds(const Side& side, size_t width, size_t height) {
  if (!side.region) return;
  const uint64_t begin = side.rows.begin;
  const uint64_t last = side.rows.row(height - 1) + width - 1;
  const Allocation* a = side.region->find(begin);
  if (a && last - a->begin < a->bytes) return;
  const bool freed = side.region->was_freed(begin);
  give_up(freed ? Finding::kUseAfterFree : Finding::kOutOfBounds,
          text(width, " bytes in ", height, " rows: ", side.region->describe(a ? last : begin)),
          where_called());
}

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

const char* kind_of(const Side& side) {
  return side.is_device ? "of a device" : "of the host";
}

void check_kind(const Side& to, const Side& from, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device == to.is_device && from_device == from.is_device) return;
  constexpr const char* kKinds[] = {"cudaMemcpyHostToHost", "cudaMemcpyHostToDevice",
                                    "cudaMemcpyDeviceToHost", "cudaMemcpyDeviceToDevice"};
  give_up(Finding::kWrongCopy,
          text(kKinds[kind], ", but the source is ", kind_of(from), " and the destination ", kind_of(to)),
          where_called());
}

uint8_t* bytes_at(const Side& side, uint64_t address) {
  return side.region ? side.region->bytes(address) : reinterpret_cast<uint8_t*>(address);
}

// A copy is an actor like a block of a kernel, and may come too early or too late like one.
void check_order(const Side& side, const Running& running, size_t width, size_t height, Access access,
                 const std::string& call) {
  if (!side.region) return;
  Actor actor;
  actor.op = running.id;
  actor.clock = &running.clock;
  for (size_t n = 0; n < height; ++n) {
    const uint64_t address = side.rows.row(n);
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

void check_written(const Side& from, size_t width, size_t height, const std::string& call) {
  for (size_t n = 0; n < height; ++n) {
    const uint8_t* states = from.region->state(from.rows.row(n));
    const auto fresh = static_cast<const uint8_t*>(std::memchr(states, kFresh, width));
    if (fresh)
      complain(Finding::kUninitialisedGlobal,
               text("copy of what nobody has written: ",
                    from.region->describe(from.rows.row(n) + (fresh - states))),
               call);
  }
}

// Moves the data, and what is known of every byte.
void execute_copy(const Side& to, const Side& from, size_t width, size_t height, const Running& running,
                  const std::string& call) {
  check_order(from, running, width, height, Access::kRead, call);
  check_order(to, running, width, height, Access::kWrite, call);
  if (from.is_device && !to.is_device) check_written(from, width, height, call);
  for (size_t n = 0; n < height; ++n) {
    const uint64_t source = from.rows.row(n);
    const uint64_t destination = to.rows.row(n);
    std::memmove(bytes_at(to, destination), bytes_at(from, source), width);
    if (!to.is_device) continue;
    if (from.is_device)
      std::memmove(to.region->state(destination), from.region->state(source), width);
    else
      std::memset(to.region->state(destination), kWritten, width);
  }
}

}  // namespace

cudaError_t copy(const void* to_pointer, size_t to_pitch, const void* from_pointer, size_t from_pitch,
                 size_t width, size_t height, cudaMemcpyKind kind, Stream& stream, CopyMode mode) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  const Side to = side_of(to_pointer, to_pitch, width, height);
  Side from = side_of(from_pointer, from_pitch, width, height);
  check_kind(to, from, kind);
  // Pageable memory is read before the call returns, whatever the stream does.
  std::shared_ptr<uint8_t[]> staged;
  if (from.is_pageable) {
    staged = std::shared_ptr<uint8_t[]>(new uint8_t[width * height]);
    for (size_t n = 0; n < height; ++n)
      std::memcpy(staged.get() + n * width, bytes_at(from, from.rows.row(n)), width);
    from.rows = {reinterpret_cast<uint64_t>(staged.get()), width};
  }
  Streams& streams = Streams::get();
  streams.submit(stream, current_call, [=, call = where_called()](const Running& running) {
    execute_copy(to, from, width, height, running, call);
    (void)staged;  // lives until here
  });
  const bool on_device = to.is_device && from.is_device;
  const bool waits = mode == CopyMode::kWaits ? !on_device : to.is_pageable;
  if (waits) streams.finish(stream);
  return cudaSuccess;
}

cudaError_t fill(void* to_pointer, size_t pitch, int value, size_t width, size_t height, Stream& stream) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (width > pitch) return cudaErrorInvalidValue;
  const Side to = side_of(to_pointer, pitch, width, height);
  if (!to.region) give_up(Finding::kHostPointer, "the memory to set is not of a device", where_called());
  Streams::get().submit(stream, current_call, [=, call = where_called()](const Running& running) {
    check_order(to, running, width, height, Access::kWrite, call);
    for (size_t n = 0; n < height; ++n) {
      std::memset(bytes_at(to, to.rows.row(n)), value, width);
      std::memset(to.region->state(to.rows.row(n)), kWritten, width);
    }
  });
  return cudaSuccess;
}

}  // namespace trireme::vgpu
