#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/vgpu/machine/warp.h"
#include "tests/vgpu/memory/global_touch.h"
#include "tests/vgpu/memory/shared_memory.h"

namespace trireme::vgpu {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};
std::string to_string(const Dim3& d);
// The index whose number is `linear`, x fastest.
Dim3 unflatten(uint64_t linear, const Dim3& extent);

// A kernel on its way through its grid.
struct Launch {
  Kernel* kernel = nullptr;
  Dim3 grid;
  Dim3 threads;  // of a block
  uint32_t dynamic_shared_bytes = 0;
  std::vector<uint8_t> parameters;
  int device = 0;
  uint32_t peers = 0;  // bit per device whose memory it may use, too
  const std::unordered_map<std::string_view, uint64_t>* variables = nullptr;  // their addresses on the device
  OpId op = 0;
  const Clock* clock = nullptr;
  BlockOrder order;
  std::atomic<int> trap = 0;  // the cudaError_t that a trap or assert has raised
};

// The machine that runs one block after the other of a launch: its warps, shared and local memory, barriers.
class Block {
 public:
  explicit Block(Launch& launch);

  // The whole block, to the end.
  void run(uint32_t linear_index);

  Launch& launch() { return launch_; }
  const Kernel& kernel() const { return *launch_.kernel; }
  const Dim3& index() const { return index_; }
  Actor& actor() { return actor_; }
  SharedMemory& shared() { return shared_; }
  uint8_t* local(int warp, int lane);
  const uint8_t* parameters() const { return launch_.parameters.data(); }
  uint8_t* registers(int warp) { return registers_.get() + size_t{kernel().register_bytes} * warp; }
  uint8_t* constants_end() { return constants_end_; }
  const Counters& counters() const { return counters_; }

  Dim3 thread(int warp, int lane) const;

  // The warp, all of whose lanes are there, arrives at a barrier; it stops unless it only arrives.
  // `threads`: how many are expected, 0 for all of the block.
  void arrive(Warp& warp, const Instr& instr, uint32_t barrier, uint32_t threads, bool waits, LaneMask votes);
  // __syncwarp: lanes of the warp have seen each other's writes.
  void synchronise_warp(Warp& warp) { warp.clock.now = ++stamp_; }

  // Ends the program if the block has executed more instructions than is allowed.
  void count_instructions(const Warp& warp, const Instr& last, uint64_t instructions);

 private:
  static constexpr int kNumBarriers = 16;
  struct Barrier {
    uint32_t expected_warps = 0;  // 0: all
    uint32_t arrived = 0;         // bit per warp
    uint32_t waiting = 0;
    uint32_t votes_for = 0;  // bar.red: threads that voted for
    uint32_t votes_against = 0;
    std::array<uint32_t, kMaxWarps> seen{};
  };

  void fill_constants();
  void start(uint32_t linear_index);
  uint32_t live_warps() const;
  bool release_barriers();
  void release(Barrier& barrier);
  [[noreturn]] void report_stuck();

  Launch& launch_;
  const int num_warps_;
  Dim3 index_;
  Actor actor_;
  SharedMemory shared_;
  std::vector<Warp> warps_;
  std::array<Barrier, kNumBarriers> barriers_;
  std::unique_ptr<uint8_t, void (*)(void*)> registers_;
  std::unique_ptr<uint8_t, void (*)(void*)> constants_;
  uint8_t* constants_end_ = nullptr;
  std::vector<uint8_t> local_;
  uint32_t stamp_ = 0;
  uint64_t instructions_ = 0;
  std::mt19937_64 random_;
  Counters counters_;
};

// Runs all blocks, on several threads of the host; raises nothing: see launch.trap.
void run(Launch& launch);

}  // namespace trireme::vgpu
