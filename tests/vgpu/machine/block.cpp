#include "tests/vgpu/machine/block.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "tests/vgpu/instructions/control.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

constexpr size_t kAlignment = 128;

std::unique_ptr<uint8_t, void (*)(void*)> aligned_bytes(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return {static_cast<uint8_t*>(std::aligned_alloc(kAlignment, std::max(rounded, kAlignment))), std::free};
}

int num_warps(const Launch& launch) {
  return static_cast<int>((launch.threads.count() + kWarpSize - 1) / kWarpSize);
}

}  // namespace

std::string to_string(const Dim3& d) {
  return text("(", d.x, ",", d.y, ",", d.z, ")");
}

Dim3 unflatten(uint64_t linear, const Dim3& extent) {
  return {static_cast<uint32_t>(linear % extent.x), static_cast<uint32_t>(linear / extent.x % extent.y),
          static_cast<uint32_t>(linear / extent.x / extent.y)};
}

Block::Block(Launch& launch)
    : launch_(launch),
      num_warps_(num_warps(launch)),
      warps_(num_warps_),
      registers_(aligned_bytes(size_t{launch.kernel->register_bytes} * num_warps_)),
      constants_(aligned_bytes(launch.kernel->constants.size())),
      local_(size_t{launch.kernel->local_bytes} * num_warps_ * kWarpSize) {
  fill_constants();
  for (int i = 0; i < num_warps_; ++i) {
    const uint64_t threads = launch.threads.count() - uint64_t{kWarpSize} * i;
    warps_[i].set_up(*this, i, threads >= kWarpSize ? kAllLanes : (1u << threads) - 1);
  }
}

void Block::fill_constants() {
  const Kernel& k = kernel();
  std::copy(k.constants.begin(), k.constants.end(), constants_.get());
  constants_end_ = constants_.get() + k.constants.size();
  for (const Kernel::Relocation& r : k.relocations) {
    const uint64_t address = launch_.variables->at(r.variable) + r.addend;
    std::fill_n(reinterpret_cast<uint64_t*>(constants_end_ + r.constant), kWarpSize, address);
  }
  const auto set = [&](BlockSlot slot, uint32_t value) {
    std::fill_n(reinterpret_cast<uint32_t*>(constants_end_ + lanes_of(slot)), kWarpSize, value);
  };
  set(BlockSlot::kTrue, kAllLanes);
  set(BlockSlot::kNctaidX, launch_.grid.x);
  set(BlockSlot::kNctaidY, launch_.grid.y);
  set(BlockSlot::kNctaidZ, launch_.grid.z);
  set(BlockSlot::kNtidX, launch_.threads.x);
  set(BlockSlot::kNtidY, launch_.threads.y);
  set(BlockSlot::kNtidZ, launch_.threads.z);
  set(BlockSlot::kNwarpid, kMaxWarps);
  set(BlockSlot::kSmid, 0);
  set(BlockSlot::kNsmid, 1);
  set(BlockSlot::kDynamicSharedBytes, launch_.dynamic_shared_bytes);
  set(BlockSlot::kTotalSharedBytes, k.shared_bytes + launch_.dynamic_shared_bytes);
}

uint8_t* Block::local(int warp, int lane) {
  return local_.data() + size_t{kernel().local_bytes} * (warp * kWarpSize + lane);
}

Dim3 Block::thread(int warp, int lane) const {
  return unflatten(uint64_t{kWarpSize} * warp + lane, launch_.threads);
}

void Block::start(uint32_t linear_index) {
  index_ = unflatten(linear_index, launch_.grid);
  const uint32_t index[] = {index_.x, index_.y, index_.z};
  for (int i = 0; i < 3; ++i) {
    const auto slot = static_cast<BlockSlot>(static_cast<int>(BlockSlot::kCtaidX) + i);
    std::fill_n(reinterpret_cast<uint32_t*>(constants_end_ + lanes_of(slot)), kWarpSize, index[i]);
  }
  actor_ = Actor();
  actor_.op = launch_.op;
  actor_.clock = launch_.clock;
  actor_.block = linear_index;
  shared_.reset(kernel().shared_bytes + launch_.dynamic_shared_bytes);
  std::fill(local_.begin(), local_.end(), 0xff);
  barriers_.fill(Barrier());
  instructions_ = 0;
  for (Warp& warp : warps_) {
    warp.restart();
    synchronise_warp(warp);
  }
  random_.seed(settings().shuffle_seed + linear_index);
}

void Block::run(uint32_t linear_index) {
  start(linear_index);
  std::vector<Warp*> order;
  for (Warp& warp : warps_) order.push_back(&warp);
  while (live_warps() && launch_.trap == 0) {
    if (settings().shuffle_seed) std::shuffle(order.begin(), order.end(), random_);
    bool progress = false;
    for (Warp* warp : order) {
      if (warp->state() != Warp::State::kReady) continue;
      warp->run();
      progress = true;
    }
    progress |= release_barriers();
    for (Warp* warp : order) {
      if (progress || warp->state() != Warp::State::kSuspended) continue;
      warp->resume();
      progress = true;
    }
    if (!progress) report_stuck();
  }
  for (Warp& warp : warps_) {
    counters_.add(warp.counters);
    warp.counters = Counters();
  }
  ++counters_.blocks;
}

uint32_t Block::live_warps() const {
  uint32_t live = 0;
  for (const Warp& warp : warps_)
    if (warp.state() != Warp::State::kDone) live |= 1u << warp.index();
  return live;
}

void Block::count_instructions(const Warp& warp, const Instr& last, uint64_t instructions) {
  instructions_ += instructions;
  if (instructions_ > settings().max_instructions)
    give_up(Finding::kEndless,
            text("the block has executed more than ", settings().max_instructions,
                 " instructions (TRIREME_VGPU_MAX_INSTRUCTIONS)"),
            warp.where(last, 0));
}

void Block::arrive(Warp& warp, const Instr& instr, uint32_t barrier, uint32_t threads, bool waits,
                   LaneMask votes) {
  if (barrier >= kNumBarriers || threads % kWarpSize != 0 ||
      threads / kWarpSize > static_cast<uint32_t>(num_warps_))
    give_up(Finding::kDivergentBarrier,
            text("barrier ", barrier, " for ", threads, " threads in a block of ", launch_.threads.count()),
            warp.where(instr, 0));
  Barrier& b = barriers_[barrier];
  const uint32_t self = 1u << warp.index();
  if (b.arrived & self)
    give_up(Finding::kDivergentBarrier,
            text("the warp arrives twice at barrier ", barrier, " before the others do"),
            warp.where(instr, 0));
  if (b.arrived && b.expected_warps != threads / kWarpSize)
    give_up(Finding::kDivergentBarrier,
            text("barrier ", barrier, " is for ", threads, " threads here and for ",
                 b.expected_warps * kWarpSize, " elsewhere (0: all)"),
            warp.where(instr, 0));
  b.expected_warps = threads / kWarpSize;
  b.arrived |= self;
  b.votes_for += std::popcount(votes & warp.live());
  b.votes_against += std::popcount(~votes & warp.live());
  for (int i = 0; i < kMaxWarps; ++i) b.seen[i] = std::max(b.seen[i], warp.clock.seen[i]);
  b.seen[warp.index()] = warp.clock.now;
  synchronise_warp(warp);
  ++warp.counters.barriers;
  if (!waits) return;
  b.waiting |= self;
  warp.barrier_instr = &instr;
  warp.stop_at_barrier();
}

bool Block::release_barriers() {
  const uint32_t live = live_warps();
  bool any = false;
  for (Barrier& b : barriers_) {
    if (!b.arrived) continue;
    const bool complete = b.expected_warps
                              ? static_cast<uint32_t>(std::popcount(b.arrived)) >= b.expected_warps
                              : (live & ~b.arrived) == 0;
    if (!complete) continue;
    any |= b.waiting != 0;
    // Not if a warp is done: nothing orders what it wrote at last.
    if (std::popcount(b.waiting) == num_warps_) shared_.next_epoch();
    release(b);
  }
  return any;
}

void Block::release(Barrier& barrier) {
  for (Warp& warp : warps_) {
    if (!(barrier.waiting >> warp.index() & 1)) continue;
    for (int i = 0; i < kMaxWarps; ++i) warp.clock.seen[i] = std::max(warp.clock.seen[i], barrier.seen[i]);
    finish_barrier(warp, *warp.barrier_instr, barrier.votes_for, barrier.votes_against);
    warp.pass_barrier();
  }
  barrier = Barrier();
}

void Block::report_stuck() {
  for (size_t i = 0; i < barriers_.size(); ++i) {
    const Barrier& b = barriers_[i];
    if (!b.waiting) continue;
    const Warp& warp = warps_[std::countr_zero(b.waiting)];
    give_up(Finding::kDivergentBarrier,
            text("barrier ", i, " has ", std::popcount(b.arrived), " of ",
                 b.expected_warps ? b.expected_warps : std::popcount(live_warps()),
                 " warps, and the others never come"),
            warp.where(*warp.barrier_instr, 0));
  }
  refuse("a block whose warps all wait for nothing");
}

}  // namespace trireme::vgpu
