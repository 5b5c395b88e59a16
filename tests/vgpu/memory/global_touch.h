#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "tests/vgpu/memory/timeline.h"

namespace trireme::vgpu {

constexpr uint64_t kTouchBytes = 4;

// Who wrote and who read four bytes of global memory last, packed so that the threads that run blocks can
// exchange it.
struct GlobalTouch {
  std::atomic<uint64_t> write;
  std::atomic<uint64_t> read;
};

// How blocks of one launch wait for each other without barriers: a block that has executed a fence and then
// writes a flag or counter with an atomic (or volatile) access publishes what it did before the fence; a
// block that reads the flag with such an access has seen it.
class BlockOrder {
 public:
  using Epochs = std::unordered_map<uint32_t, uint8_t>;  // block -> its last epoch that is visible

  // Before the block writes the flag: adds what it has done up to its last fence, and what it knows of
  // others.
  void publish(uint64_t address, uint32_t block, uint8_t fenced_epoch, const Epochs& known);
  // After it has read the flag: takes over what is published there.
  void take_over(uint64_t address, Epochs& known);

 private:
  std::mutex mutex_;
  std::atomic<bool> used_ = false;
  std::unordered_map<uint64_t, Epochs> published_;
};

// One block of a launch, or a copy, as somebody who touches global memory.
struct Actor {
  OpId op = 0;
  const Clock* clock = nullptr;  // of the operation
  uint32_t block = 0;            // linear index in the grid
  uint8_t epoch = 1;             // counts the block's fences
  BlockOrder::Epochs known;
  OpId last_ordered = 0;  // the last operation that turned out to be over, to look it up only once

  // A thread of the block executed a fence.
  void fence() {
    if (epoch < kLastEpoch) ++epoch;
  }
  // The epochs up to this one are before a fence.  Beyond the last one nothing is told apart.
  uint8_t fenced_epoch() const { return epoch == kLastEpoch ? epoch : epoch - 1; }
  static constexpr uint8_t kLastEpoch = 255;
};

// The earlier access that one collides with.
struct Conflict {
  enum class Kind : uint8_t { kNone, kWrite, kRead, kReadOnlyLoad };
  Kind kind = Kind::kNone;
  OpId op = 0;
  uint32_t block = 0;
  bool many_blocks = false;

  explicit operator bool() const { return kind != Kind::kNone; }
};

enum class Access : uint8_t {
  kRead,
  kReadOnly,  // ld.global.nc: nobody may write there during the launch
  kWrite,
  kSyncRead,   // volatile, relaxed, acquire: may meet other accesses of this kind
  kSyncWrite,  // atomics too
};

// Notes an access to the bytes of `mask` (bit i: byte i of the four), and says what it collides with.
Conflict touch(GlobalTouch& touched, Actor& actor, uint8_t mask, Access access);

// The same for all of [address, address + bytes), where `first` is the touch of `address`; the first
// conflict.
Conflict touch_range(GlobalTouch* first, Actor& actor, uint64_t address, uint64_t bytes, Access access);

}  // namespace trireme::vgpu
