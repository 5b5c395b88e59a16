#include "tests/vgpu/machine/warp.h"

#include <algorithm>

#include "tests/vgpu/instructions/control.h"
#include "tests/vgpu/machine/block.h"

namespace trireme::vgpu {
namespace {

constexpr uint32_t kPatience = 10'000;
constexpr uint32_t kNoLimit = 0xffffffff;

std::string list_of(LaneMask lanes) {
  std::string result;
  for (; lanes; lanes &= lanes - 1) result += text(result.empty() ? "" : ",", std::countr_zero(lanes));
  return result;
}

// Blocks on other threads may do the same.
void note(uint8_t& executed) {
  __atomic_store_n(&executed, 1, __ATOMIC_RELAXED);
}

template <class Value>
void fill(uint32_t* slot, Value value) {
  for (int lane = 0; lane < kWarpSize; ++lane) slot[lane] = value(lane);
}

}  // namespace

void Warp::set_up(Block& block, int index, LaneMask threads) {
  block_ = &block;
  index_ = index;
  threads_ = threads;
  bases_[0] = block.registers(index);
  bases_[1] = block.constants_end();
  const auto slot = [&](WarpSlot s) { return at<uint32_t>(lanes_of(s)); };
  fill(slot(WarpSlot::kTidX), [&](int lane) { return block.thread(index, lane).x; });
  fill(slot(WarpSlot::kTidY), [&](int lane) { return block.thread(index, lane).y; });
  fill(slot(WarpSlot::kTidZ), [&](int lane) { return block.thread(index, lane).z; });
  fill(slot(WarpSlot::kLaneid), [](int lane) { return lane; });
  fill(slot(WarpSlot::kWarpid), [&](int) { return index; });
  fill(slot(WarpSlot::kMaskEq), [](int lane) { return 1u << lane; });
  fill(slot(WarpSlot::kMaskLt), [](int lane) { return (1u << lane) - 1; });
  fill(slot(WarpSlot::kMaskLe), [](int lane) { return (2u << lane) - 1; });
  fill(slot(WarpSlot::kMaskGt), [](int lane) { return ~((2u << lane) - 1); });
  fill(slot(WarpSlot::kMaskGe), [](int lane) { return ~((1u << lane) - 1); });
}

void Warp::restart() {
  live_ = threads_;
  state_ = State::kReady;
  num_groups_ = 0;
  store_group({0, threads_});
  for (const Lanes undefined : block_->kernel().undefined) predicate(undefined) = kAllLanes;
  clock = WarpClock();
  copies.clear();
  commit_group.fill(0);
}

void Warp::run() {
  if (block_->kernel().executed.empty())
    run_until_it_waits<false>();
  else
    run_until_it_waits<true>();
}

template <bool kNotesExecuted>
void Warp::run_until_it_waits() {
  const Instr* const code = block_->kernel().code.data();
  uint8_t* const executed = block_->launch().kernel->executed.data();
  patience_ = kPatience;
  const Instr* last = code;
  uint64_t instructions = 0;
  uint64_t thread_instructions = 0;
  while (state_ == State::kReady && pick_group()) {
    do {
      const uint32_t pc = pc_++;
      const Instr& instr = code[pc];
      const LaneMask active = mask_ & (predicate(instr.guard) ^ instr.guard_flip);
      ++instructions;
      thread_instructions += std::popcount(mask_);
      if (kNotesExecuted && active) note(executed[pc]);
      if (active) instr.run(*this, instr, active);
      last = &instr;
    } while (pc_ < limit_);
    if (mask_) store_group({pc_, mask_});
    if (out_of_patience_) break;
  }
  counters.warp_instructions += instructions;
  counters.thread_instructions += thread_instructions;
  block_->count_instructions(*this, *last, instructions);
}

// The lowest pc first; after a long loop whichever group has not run for longest, since the loop may wait for
// it.
bool Warp::pick_group() {
  if (num_groups_ == 0) {
    state_ = State::kDone;
    return false;
  }
  int best = -1;
  for (int i = 0; i < num_groups_; ++i) {
    if (groups_[i].needed) continue;
    if (best < 0 || (!out_of_patience_ && groups_[i].pc < groups_[best].pc)) best = i;
  }
  if (best < 0) {
    const Group& stuck =
        *std::min_element(&groups_[0], &groups_[num_groups_], [](auto& a, auto& b) { return a.pc < b.pc; });
    report_missing(stuck, stuck.needed & ~stuck.lanes);
  }
  out_of_patience_ = false;
  pc_ = groups_[best].pc;
  mask_ = groups_[best].lanes;
  std::copy(&groups_[best + 1], &groups_[num_groups_], &groups_[best]);
  --num_groups_;
  find_limit();
  return true;
}

void Warp::find_limit() {
  limit_ = kNoLimit;
  for (int i = 0; i < num_groups_; ++i)
    if (groups_[i].pc > pc_) limit_ = std::min(limit_, groups_[i].pc);
}

// Groups that meet go on together, and if one waited, it tries again.
void Warp::store_group(const Group& group) {
  for (int i = 0; i < num_groups_; ++i) {
    if (groups_[i].pc != group.pc) continue;
    groups_[i].lanes |= group.lanes;
    groups_[i].needed = 0;
    return;
  }
  groups_[num_groups_++] = group;
}

void Warp::jump(uint32_t target, LaneMask taken) {
  if (is_exit(block_->kernel().code[target])) {  // nobody is to wait for lanes that are as good as done
    std::vector<uint8_t>& executed = block_->launch().kernel->executed;
    if (!executed.empty()) note(executed[target]);
    exit(taken);
    return;
  }
  const LaneMask others = mask_ & ~taken;
  const bool backward = target < pc_;
  if (backward && --patience_ == 0) {
    out_of_patience_ = true;
    limit_ = 0;
  }
  if (others) {
    store_group({pc_, others});
    mask_ = taken;
    limit_ = 0;
  } else if (backward && num_groups_ > 0) {
    limit_ = 0;
  }
  pc_ = target;
}

void Warp::part(uint32_t target, LaneMask taken) {
  store_group({target, taken});
  mask_ &= ~taken;
  limit_ = 0;
}

void Warp::exit(LaneMask lanes) {
  live_ &= ~lanes;
  mask_ &= ~lanes;
  if (!mask_) limit_ = 0;
  for (int i = 0; i < num_groups_; ++i)
    if (groups_[i].needed & lanes) report_missing(groups_[i], groups_[i].needed & lanes);
}

void Warp::trap(int error) {
  block_->launch().trap = error;
  live_ = 0;
  mask_ = 0;
  num_groups_ = 0;
  limit_ = 0;
}

bool Warp::gather(const Instr& instr, LaneMask active, LaneMask needed, Finding otherwise) {
  needed &= live_;
  if ((needed & ~active) == 0) return true;
  const auto pc = static_cast<uint32_t>(&instr - block_->kernel().code.data());
  store_group({pc, active, needed, otherwise});
  mask_ &= ~active;
  limit_ = 0;
  return false;
}

void Warp::suspend(const std::string& what, const std::string& where) {
  if (state_ == State::kSuspended) return;  // the first lane says enough
  state_ = State::kSuspended;
  suspended_by_[0] = what;
  suspended_by_[1] = where;
  limit_ = 0;
}

void Warp::resume() {
  complain(Finding::kUninitialisedShared, suspended_by_[0], suspended_by_[1]);
  state_ = State::kReady;
}

void Warp::stop_at_barrier() {
  state_ = State::kAtBarrier;
  limit_ = 0;
}

void Warp::report_missing(const Group& group, LaneMask missing) {
  const Instr& instr = block_->kernel().code[group.pc];
  give_up(group.otherwise,
          text("lanes ", list_of(group.lanes), " of the warp wait here for lanes ", list_of(missing),
               ", which never come"),
          where(instr, std::countr_zero(group.lanes)));
}

std::string Warp::where(const Instr& instr, int lane) const {
  const Kernel& kernel = block_->kernel();
  return text("  kernel   ", kernel.readable_name, "\n  block    ", to_string(block_->index()), ", thread ",
              to_string(block_->thread(index_, lane)), "\n", kernel.describe(instr.statement));
}

}  // namespace trireme::vgpu
