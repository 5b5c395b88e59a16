#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

namespace trireme::vgpu {

constexpr int kMaxWarps = 32;

// When a warp last synchronised, and what it has seen of the others by then.  Stamps count up over the whole
// block.
struct WarpClock {
  uint32_t now = 0;
  std::array<uint32_t, kMaxWarps> seen{};
};

// The shared memory of a block that runs, with the state of every byte, and who touched every four bytes
// last.
class SharedMemory {
 public:
  enum ByteState : uint8_t {
    kFresh = 0,
    kWritten = 1,
    kInFlight = 2
  };  // in flight: of a cp.async not yet waited for

  static constexpr int kManyLanes = 0xff;  // where a warp reads together

  class Thread {
   public:
    Thread() = default;
    Thread(int warp, int lane) : number_(static_cast<uint16_t>(warp << 8 | lane)) {}
    int warp() const { return number_ >> 8; }
    int lane() const { return number_ & 0xff; }
    bool operator==(const Thread&) const = default;

   private:
    uint16_t number_ = 0;
  };

  // The earlier access that one collides with.
  struct Conflict {
    bool is_write = false;
    Thread other;
  };

  // A block starts: `bytes` of NaN that nobody has written.
  void reset(uint32_t bytes);
  // Everything so far is ordered before everything to come: a barrier of the whole block.
  void next_epoch() { ++epoch_; }

  uint32_t size() const { return size_; }
  uint8_t* bytes(uint32_t offset) { return bytes_.data() + offset; }
  uint8_t* state(uint32_t offset) { return state_.data() + offset; }

  // Whether all of it is in that state.  REQUIRES bytes is a power of two up to 16.
  bool is_all(uint32_t offset, uint32_t bytes, ByteState state) const {
    const uint64_t pattern = 0x0101010101010101 * state;
    const uint8_t* at = state_.data() + offset;
    switch (bytes) {
      case 4:
        return std::memcmp(at, &pattern, 4) == 0;
      case 8:
        return std::memcmp(at, &pattern, 8) == 0;
      case 16:
        return std::memcmp(at, &pattern, 8) == 0 && std::memcmp(at + 8, &pattern, 8) == 0;
      default:
        return at[0] == state && at[bytes - 1] == state;
    }
  }

  // Note an access; whether it collides with an earlier one, and with which.  REQUIRES offset + bytes <=
  // size().
  bool read(uint32_t offset, uint32_t bytes, Thread thread, const WarpClock& clock, Conflict& conflict);
  bool write(uint32_t offset, uint32_t bytes, Thread thread, const WarpClock& clock, bool atomic,
             Conflict& conflict);

 private:
  static constexpr uint32_t kTouchBytes = 4;

  struct Touch {
    uint32_t epoch = 0;  // older ones say nothing any more
    uint32_t write_stamp = 0;
    uint32_t first_read = 0;  // stamps of the first and last of the readers
    uint32_t last_read = 0;
    uint32_t reading_warps = 0;  // bit per warp
    Thread writer;
    Thread last_reader;
    uint8_t written = 0;  // bit per byte
    uint8_t was_read = 0;
    bool atomic = false;
  };

  // A read that changes nothing: the same warp has just read the same, and nobody has written since.
  bool is_repeated(const Touch& t, uint8_t mask, Thread thread, const WarpClock& clock) const {
    return t.epoch == epoch_ && t.last_read == clock.now && t.last_reader.warp() == thread.warp() &&
           (t.last_reader.lane() == kManyLanes || t.last_reader == thread) && (t.was_read & mask) == mask;
  }
  static bool is_ordered(Thread earlier, uint32_t stamp, Thread thread, const WarpClock& clock);
  static bool read_one(Touch& t, uint8_t mask, Thread thread, const WarpClock& clock, Conflict& conflict);
  static bool write_one(Touch& t, uint8_t mask, Thread thread, const WarpClock& clock, bool atomic,
                        Conflict& conflict);
  template <class OnTouch>
  bool for_each_touch(uint32_t offset, uint32_t bytes, OnTouch on_touch);

  uint32_t size_ = 0;
  uint32_t epoch_ = 0;
  std::vector<uint8_t> bytes_;
  std::vector<uint8_t> state_;
  std::vector<Touch> touches_;
};

}  // namespace trireme::vgpu
