#include "tests/vgpu/memory/global_touch.h"

#include <algorithm>

namespace trireme::vgpu {
namespace {

// One half of a GlobalTouch: op 27 bits, block 24, epoch 8, bytes 4, flag 1 (a write: synchronising; a read:
// by several blocks).
class Entry {
 public:
  Entry(uint64_t bits) : bits_(bits) {}
  Entry(const Actor& actor, uint8_t bytes, bool flag)
      : bits_(uint64_t{actor.op} << 37 | uint64_t{actor.block} << 13 | uint64_t{actor.epoch} << 5 |
              uint64_t{bytes} << 1 | uint64_t{flag}) {}

  uint64_t bits() const { return bits_; }
  OpId op() const { return static_cast<OpId>(bits_ >> 37); }
  uint32_t block() const { return bits_ >> 13 & 0xffffff; }
  uint8_t epoch() const { return bits_ >> 5 & 0xff; }
  uint8_t bytes() const { return bits_ >> 1 & 0xf; }
  bool flag() const { return bits_ & 1; }

 private:
  uint64_t bits_;
};

bool is_ordered(const Entry& entry, Actor& actor) {
  if (entry.op() != actor.op) {
    if (entry.op() == actor.last_ordered) return true;
    if (!Timeline::get().is_before(entry.op(), *actor.clock)) return false;
    actor.last_ordered = entry.op();
    return true;
  }
  if (entry.block() == actor.block) return true;
  const auto known = actor.known.find(entry.block());
  return known != actor.known.end() && known->second >= entry.epoch();
}

Conflict conflict(Conflict::Kind kind, const Entry& entry, bool many_blocks) {
  return {kind, entry.op(), entry.block(), many_blocks};
}

void note_read(GlobalTouch& touched, const Entry& read, const Actor& actor, uint8_t mask) {
  Entry now(actor, mask, false);
  if (read.op() == actor.op) {
    const uint8_t bytes = read.bytes() | mask;
    const bool several = read.flag() || read.block() != actor.block;
    now = Entry(actor, bytes, several);
    if (several && read.flag() && read.bytes() == bytes) return;  // as most reads of shared inputs
  }
  if (now.bits() != read.bits()) touched.read.store(now.bits(), std::memory_order_relaxed);
}

void merge(BlockOrder::Epochs& into, const BlockOrder::Epochs& from) {
  for (const auto& [block, epoch] : from) into[block] = std::max(into[block], epoch);
}

}  // namespace

void BlockOrder::publish(uint64_t address, uint32_t block, uint8_t fenced_epoch, const Epochs& known) {
  if (fenced_epoch == 0 && known.empty()) return;
  const std::lock_guard lock(mutex_);
  used_.store(true, std::memory_order_release);
  Epochs& published = published_[address];
  merge(published, known);
  if (fenced_epoch > 0) published[block] = std::max(published[block], fenced_epoch);
}

void BlockOrder::take_over(uint64_t address, Epochs& known) {
  if (!used_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  const auto published = published_.find(address);
  if (published != published_.end()) merge(known, published->second);
}

// Within a launch a plain read may meet atomics: CUDA's own atomicAdd for bf16 reads before its first
// compare-and-swap.
Conflict touch(GlobalTouch& touched, Actor& actor, uint8_t mask, Access access) {
  const bool writes = access == Access::kWrite || access == Access::kSyncWrite;
  const bool synchronises = access == Access::kSyncRead || access == Access::kSyncWrite;
  Conflict found;

  const Entry write(touched.write.load(std::memory_order_relaxed));
  if (write.bytes() & mask) {
    if (access == Access::kReadOnly && write.op() == actor.op)
      found = conflict(Conflict::Kind::kReadOnlyLoad, write, false);
    else if (!(write.flag() && (synchronises || (!writes && write.op() == actor.op))) &&
             !is_ordered(write, actor))
      found = conflict(Conflict::Kind::kWrite, write, false);
  }
  const Entry read(touched.read.load(std::memory_order_relaxed));
  if (!writes) {
    if (!synchronises) note_read(touched, read, actor, mask);
    return found;
  }
  const bool atomic_in_launch = access == Access::kSyncWrite && read.op() == actor.op;
  if (!found && read.bytes() & mask && !atomic_in_launch) {
    // Of several readers only the last is known: where blocks wait for each other at all, the others get the
    // benefit of the doubt.
    const bool same_launch = read.op() == actor.op;
    const bool ordered = is_ordered(read, actor) && !(same_launch && read.flag() && actor.known.empty());
    if (!ordered) found = conflict(Conflict::Kind::kRead, read, same_launch && read.flag());
  }
  const bool same_writer = write.op() == actor.op && write.block() == actor.block &&
                           write.epoch() == actor.epoch && write.flag() == synchronises;
  const Entry now(actor, same_writer ? write.bytes() | mask : mask, synchronises);
  if (now.bits() != write.bits()) touched.write.store(now.bits(), std::memory_order_relaxed);
  return found;
}

Conflict touch_range(GlobalTouch* first, Actor& actor, uint64_t address, uint64_t bytes, Access access) {
  Conflict found;
  const uint64_t end = address + bytes;
  for (GlobalTouch* touched = first; address < end; ++touched) {
    const uint64_t next = std::min(end, (address / kTouchBytes + 1) * kTouchBytes);
    const uint8_t mask = ((1u << (next - address)) - 1) << address % kTouchBytes;
    const Conflict here = touch(*touched, actor, mask, access);
    if (here && !found) found = here;
    address = next;
  }
  return found;
}

}  // namespace trireme::vgpu
