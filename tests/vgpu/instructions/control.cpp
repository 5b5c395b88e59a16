#include "tests/vgpu/instructions/control.h"

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/machine/block.h"

namespace trireme::vgpu {
namespace {

void branch(Warp& w, const Instr& i, LaneMask active) {
  w.jump(static_cast<uint32_t>(i.imm), active);
}

void exit_lanes(Warp& w, const Instr&, LaneMask active) {
  w.exit(active);
}

// brx.idx: op[0] is the index into the list of imm targets.
void branch_by_index(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t* index = w.at<uint32_t>(i.op[0]);
  while (active) {
    const int lane = std::countr_zero(active);
    if (index[lane] >= static_cast<uint64_t>(i.imm))
      give_up(Finding::kOutOfBounds, text("target ", index[lane], " of ", i.imm, " of a branch"),
              w.where(i, lane));
    LaneMask same = 0;
    for_each_lane(active, [&](int other) { same |= LaneMask{index[other] == index[lane]} << other; });
    active &= ~same;
    w.part(static_cast<uint32_t>(i.list[index[lane]]), same);
  }
}

// What a trap is to the host: cudaErrorLaunchFailure.
void trap(Warp& w, const Instr&, LaneMask) {
  constexpr int kLaunchFailure = 719;
  w.trap(kLaunchFailure);
}

// --- Barriers of the block: op: result, barrier, threads, predicate. ---

enum Mode { kReduction, kArrivesOnly, kNegatePredicate };
enum Reduction { kNone, kPopc, kAnd, kOr };

void barrier(Warp& w, const Instr& i, LaneMask active) {
  if (!w.gather(i, active, w.live(), Finding::kDivergentBarrier)) return;
  const int lane = std::countr_zero(active);
  const LaneMask votes = w.predicate(i.op[3]) ^ (i.mode[kNegatePredicate] ? kAllLanes : 0);
  w.block().arrive(w, i, w.at<uint32_t>(i.op[1])[lane], w.at<uint32_t>(i.op[2])[lane], !i.mode[kArrivesOnly],
                   votes);
}

bool lower_barrier(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  m.take("cta");
  m.take("aligned");
  const int kind = m.take_any({"sync", "arrive", "red"});
  int reduction = kNone;
  if (kind == 2) reduction = 1 + m.take_any({"popc", "and", "or"});
  if (kind == 2 && !m.take(reduction == kPopc ? "u32" : "pred")) return false;
  if (kind < 0 || (kind == 2 && reduction == kNone) || !m.empty()) return false;
  const size_t first = kind == 2 ? 1 : 0;
  const size_t num_numbers = in.operands.size() - first - (kind == 2 ? 1 : 0);
  if (num_numbers < 1 || num_numbers > 2) return false;
  const Lanes number = to.use(in.operands[first], 32);
  const Lanes threads = num_numbers == 2 ? to.use(in.operands[first + 1], 32) : to.constant(0, 32);
  bool negated = false;
  Lanes predicate = lanes_of(BlockSlot::kTrue);
  Lanes d = 0;
  if (kind == 2) {
    predicate = to.use_predicate(in.operands.back(), negated);
    d = reduction == kPopc ? to.def(in.operands[0], 32) : to.def_predicate(in.operands[0]);
  }
  Instr& i = to.emit(barrier, Nature::kEffect);
  i.op = {d, number, threads, predicate};
  i.mode = {static_cast<uint8_t>(reduction), kind == 1, negated};
  return true;
}

void fence(Warp& w, const Instr&, LaneMask) {
  w.block().actor().fence();
}

bool lower_fence(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  m.take_any({"sc", "acq_rel"});
  const int scope = m.take_any({"cta", "gl", "sys", "gpu"});
  if (scope < 0 || !m.empty()) return false;
  if (scope > 0) to.emit(fence);
  return true;
}

bool lower_indexed_branch(Lowering& to, const ptx::Instruction& in) {
  const Lanes index = to.use(in.operands[0], 32);
  to.emit(branch_by_index, Nature::kEffect).op = {index};
  to.branch_to_any(in.operands[1].name);
  return true;
}

bool lower_end(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode == "ret" && to.is_inlined()) {
    to.emit(branch);
    to.branch_to_end_of_function();
  } else {
    to.emit(exit_lanes);
    to.end_of_path();
  }
  return true;
}

}  // namespace

Handler exit_handler() {
  return exit_lanes;
}

bool is_exit(const Instr& instr) {
  return instr.run == exit_lanes && instr.guard == lanes_of(BlockSlot::kTrue);
}

Handler widen_handler() {
  return map1<uint64_t, uint32_t, [](uint32_t x) { return uint64_t{x}; }>;
}

void finish_barrier(Warp& w, const Instr& i, uint32_t votes_for, uint32_t votes_against) {
  switch (i.mode[kReduction]) {
    case kPopc:
      for_lanes(w.live(), w.at<uint32_t>(i.op[0]), [votes_for]() { return votes_for; });
      break;
    case kAnd:
      w.predicate(i.op[0]) = votes_against == 0 ? kAllLanes : 0;
      break;
    case kOr:
      w.predicate(i.op[0]) = votes_for > 0 ? kAllLanes : 0;
      break;
    default:
      break;
  }
}

bool lower_control(Lowering& to, const ptx::Instruction& in) {
  const std::string_view op = in.opcode;
  if (op == "bra") {
    to.emit(branch);
    to.branch_to(in.operands[0]);
    return true;
  }
  if (op == "brx") return lower_indexed_branch(to, in);
  if (op == "ret" || op == "exit") return lower_end(to, in);
  if (op == "trap") {
    to.emit(trap, Nature::kEffect);
    to.end_of_path();
    return true;
  }
  if (in.spelling == "bar.warp.sync") return false;
  if (op == "bar" || op == "barrier") return lower_barrier(to, in);
  if (op == "membar" || op == "fence") return lower_fence(to, in);
  return op == "nanosleep" || op == "pmevent" || op == "brkpt";
}

}  // namespace trireme::vgpu
