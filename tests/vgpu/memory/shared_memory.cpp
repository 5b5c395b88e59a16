#include "tests/vgpu/memory/shared_memory.h"

#include <algorithm>
#include <bit>

namespace trireme::vgpu {

void SharedMemory::reset(uint32_t bytes) {
  size_ = bytes;
  if (bytes_.size() < bytes) {
    bytes_.resize(bytes);
    state_.resize(bytes);
    touches_.resize(bytes / kTouchBytes + 1);
  }
  std::fill_n(bytes_.begin(), bytes, 0xff);
  std::fill_n(state_.begin(), bytes, kFresh);
  next_epoch();
}

// Lanes of one warp are ordered by __syncwarp and barriers only, which give the warp a new stamp.
bool SharedMemory::is_ordered(Thread earlier, uint32_t stamp, Thread thread, const WarpClock& clock) {
  if (earlier.warp() != thread.warp()) return clock.seen[earlier.warp()] >= stamp;
  return earlier == thread || stamp < clock.now;
}

// Whether on_touch, which gets four bytes after the other, was true for any.
template <class OnTouch>
bool SharedMemory::for_each_touch(uint32_t offset, uint32_t bytes, OnTouch on_touch) {
  bool any = false;
  const uint32_t end = offset + bytes;
  while (offset < end) {
    Touch& t = touches_[offset / kTouchBytes];
    if (t.epoch != epoch_) {
      t = Touch();
      t.epoch = epoch_;
    }
    const uint32_t next = std::min(end, (offset / kTouchBytes + 1) * kTouchBytes);
    const uint8_t mask = ((1u << (next - offset)) - 1) << offset % kTouchBytes;
    any |= on_touch(t, mask);
    offset = next;
  }
  return any;
}

bool SharedMemory::read(uint32_t offset, uint32_t bytes, Thread thread, const WarpClock& clock,
                        Conflict& conflict) {
  return for_each_touch(offset, bytes, [&](Touch& t, uint8_t mask) {
    return !is_repeated(t, mask, thread, clock) && read_one(t, mask, thread, clock, conflict);
  });
}

bool SharedMemory::write(uint32_t offset, uint32_t bytes, Thread thread, const WarpClock& clock, bool atomic,
                         Conflict& conflict) {
  return for_each_touch(offset, bytes, [&](Touch& t, uint8_t mask) {
    return write_one(t, mask, thread, clock, atomic, conflict);
  });
}

bool SharedMemory::read_one(Touch& t, uint8_t mask, Thread thread, const WarpClock& clock,
                            Conflict& conflict) {
  const bool collides = t.written & mask && !is_ordered(t.writer, t.write_stamp, thread, clock);
  if (collides) conflict = {true, t.writer};
  if (t.reading_warps == 0) t.first_read = clock.now;
  const bool same_warp = t.reading_warps && t.last_reader.warp() == thread.warp() && t.last_read == clock.now;
  t.last_reader = same_warp && t.last_reader != thread ? Thread(thread.warp(), kManyLanes) : thread;
  t.last_read = clock.now;
  t.reading_warps |= 1u << thread.warp();
  t.was_read |= mask;
  return collides;
}

bool SharedMemory::write_one(Touch& t, uint8_t mask, Thread thread, const WarpClock& clock, bool atomic,
                             Conflict& conflict) {
  bool collides = false;
  if (t.written & mask && !(atomic && t.atomic) && !is_ordered(t.writer, t.write_stamp, thread, clock)) {
    conflict = {true, t.writer};
    collides = true;
  } else if (t.was_read & mask && !is_ordered(t.last_reader, t.last_read, thread, clock)) {
    conflict = {false, t.last_reader};
    collides = true;
  } else if (t.was_read & mask) {
    // Of the other readers the stamps are not known, only that none is older than the first.
    uint32_t others = t.reading_warps & ~(1u << t.last_reader.warp()) & ~(1u << thread.warp());
    for (; others && !collides; others &= others - 1) {
      const int warp = std::countr_zero(others);
      collides = clock.seen[warp] < t.first_read;
      if (collides) conflict = {false, Thread(warp, kManyLanes)};
    }
  }
  const bool same_writer = t.writer == thread && t.write_stamp == clock.now;
  t.written = same_writer ? t.written | mask : mask;
  t.was_read &= ~mask;
  if (!t.was_read) t.reading_warps = 0;
  t.writer = thread;
  t.write_stamp = clock.now;
  t.atomic = atomic;
  return collides;
}

}  // namespace trireme::vgpu
