#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/vgpu/machine/kernel.h"
#include "tests/vgpu/memory/shared_memory.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu {

class Block;

// A cp.async on its way: it lands when its lane waits for it.
struct AsyncCopy {
  uint32_t destination = 0;  // in shared memory
  uint64_t source = 0;
  uint8_t bytes = 0;
  uint8_t source_bytes = 0;  // the rest is zeros
  uint8_t lane = 0;
  uint32_t group = 0;  // the lane's commit group
};

// 32 threads.  Lanes that took different ways form groups, each with its own pc; the group with the lowest pc
// runs until it meets another one, so that lanes meet again where their ways do.
class Warp {
 public:
  enum class State { kReady, kAtBarrier, kSuspended, kDone };

  // Gets registers and threads; `threads` (the lanes that exist) of the last warp may be fewer than 32.
  void set_up(Block& block, int index, LaneMask threads);
  // Ready for another block.
  void restart();

  // Runs until the warp waits at a barrier of the block, is done, or has had its share of time.
  void run();

  // --- For handlers. ---

  template <class T>
  T* at(Lanes lanes) const {
    return reinterpret_cast<T*>(bases_[lanes < 0] + lanes);
  }
  LaneMask& predicate(Lanes lanes) const { return *at<LaneMask>(lanes); }

  Block& block() const { return *block_; }
  int index() const { return index_; }
  LaneMask live() const { return live_; }

  // The lanes `taken` of those that run go on at `target`.
  void jump(uint32_t target, LaneMask taken);
  // The same for one of several targets: others of the lanes that run follow, or the next instruction.
  void part(uint32_t target, LaneMask taken);
  // The lanes are done.
  void exit(LaneMask lanes);
  // The launch ends with this cudaError_t.
  void trap(int error);
  // False: not all of the lanes `needed` are here; those that are wait for them, and the handler must do
  // nothing. If the others never come, that is `otherwise`.  Lanes that are done already are not waited for.
  bool gather(const Instr& instr, LaneMask active, LaneMask needed, Finding otherwise);
  // After a gather() of all that live: the warp is to stop here until the block calls pass_barrier().
  void stop_at_barrier();
  void pass_barrier() { state_ = State::kReady; }
  // The warp has read shared memory that nobody has written.  It stops, and the others go on: if one of them
  // writes it now, that is a race; if not, the finding is the one given here.
  void suspend(const std::string& what, const std::string& where);
  // Reports it; goes on if that finding is ignored.
  void resume();

  // The four lines of a report that say where: kernel, block and thread, PTX, source.
  std::string where(const Instr& instr, int lane) const;

  State state() const { return state_; }
  Counters counters;
  WarpClock clock;
  std::vector<AsyncCopy> copies;
  std::array<uint32_t, kWarpSize> commit_group{};  // the one that is open

  // A barrier's reduction: what this warp gave, and where it wants the result (bar.red).
  const Instr* barrier_instr = nullptr;

 private:
  struct Group {
    uint32_t pc = 0;
    LaneMask lanes = 0;
    LaneMask needed = 0;  // waits for these lanes; 0: may run
    Finding otherwise = Finding::kWrongMask;
  };

  template <bool kNotesExecuted>
  void run_until_it_waits();
  bool pick_group();
  void store_group(const Group& group);
  void find_limit();
  void report_missing(const Group& group, LaneMask missing);

  uint8_t* bases_[2] = {};  // registers, end of the constants
  uint32_t pc_ = 0;         // of the group that runs
  uint32_t limit_ = 0;      // at or beyond this pc it must let others have a look
  LaneMask mask_ = 0;
  LaneMask live_ = 0;
  LaneMask threads_ = 0;
  State state_ = State::kReady;
  Block* block_ = nullptr;
  int index_ = 0;
  int num_groups_ = 0;  // without the one that runs
  std::array<Group, kWarpSize> groups_;
  std::string suspended_by_[2];
  uint32_t patience_ = 0;  // backward jumps until another group or warp has its turn
  bool out_of_patience_ = false;
};

}  // namespace trireme::vgpu
