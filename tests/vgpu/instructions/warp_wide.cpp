// Instructions in which the lanes of a warp talk to each other: shfl, vote, match, redux, activemask,
// bar.warp.sync.
#include <algorithm>
#include <bit>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/machine/block.h"

namespace trireme::vgpu {
namespace {

using ptx::Operand;

// Whether all lanes that the active ones name in their masks are here.  A lane must name itself, and those
// that name each other must agree.
bool gather_members(Warp& w, const Instr& i, LaneMask active, const uint32_t* members) {
  LaneMask needed = 0;
  for_each_lane(active, [&](int lane) {
    needed |= members[lane];
    if (!(members[lane] >> lane & 1))
      give_up(Finding::kWrongMask, text("the lane is not in its own mask 0x", std::hex, members[lane]),
              w.where(i, lane));
  });
  if (!w.gather(i, active, needed, Finding::kWrongMask)) return false;
  for_each_lane(active, [&](int lane) {
    for_each_lane(members[lane] & active, [&](int other) {
      if (members[other] != members[lane])
        give_up(Finding::kWrongMask,
                text("the lane has the mask 0x", std::hex, members[lane], ", lane ", std::dec, other,
                     " of them has 0x", std::hex, members[other]),
                w.where(i, lane));
    });
  });
  return true;
}

// --- shfl: op: result, value, lane operand, clamp and segment; list: members, predicate. ---

enum class ShuffleMode : uint8_t { kUp, kDown, kButterfly, kIndex };

void shuffle(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t* members = w.at<uint32_t>(i.list[0]);
  if (!gather_members(w, i, active, members)) return;
  constexpr uint32_t kNobody = 0xffffffff;  // what a lane gets from one that takes no part
  uint32_t values[kWarpSize];
  std::copy_n(w.at<uint32_t>(i.op[1]), kWarpSize, values);
  const uint32_t* b = w.at<uint32_t>(i.op[2]);
  const uint32_t* c = w.at<uint32_t>(i.op[3]);
  uint32_t* d = w.at<uint32_t>(i.op[0]);
  LaneMask& in_range = w.predicate(i.list[1]);
  for_each_lane(active, [&](int lane) {
    const int by = static_cast<int>(b[lane] & 31);
    const int clamp = static_cast<int>(c[lane] & 31);
    const int segment = static_cast<int>(c[lane] >> 8 & 31);
    const int first = lane & segment;
    const int last = first | (clamp & ~segment);
    int source = lane;
    bool inside = false;
    switch (static_cast<ShuffleMode>(i.mode[0])) {
      case ShuffleMode::kUp:
        source = lane - by;
        inside = source >= last;
        break;
      case ShuffleMode::kDown:
        source = lane + by;
        inside = source <= last;
        break;
      case ShuffleMode::kButterfly:
        source = lane ^ by;
        inside = source <= last;
        break;
      case ShuffleMode::kIndex:
        source = first | (by & ~segment);
        inside = source <= last;
        break;
    }
    if (!inside) source = lane;
    d[lane] = (members[lane] & active) >> source & 1 ? values[source] : kNobody;
    in_range = (in_range & ~(1u << lane)) | LaneMask{inside} << lane;
  });
}

bool lower_shuffle(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const int mode = m.take_any({"up", "down", "bfly", "idx"});
  if (!m.take("sync") || !m.take("b32") || mode < 0 || !m.empty() || in.operands.size() != 5) return false;
  const Operand& d = in.operands[0];
  const bool pair = d.form == Operand::Form::kPair;
  const Lanes value = to.use(in.operands[1], 32);
  const Lanes by = to.use(in.operands[2], 32);
  const Lanes clamp = to.use(in.operands[3], 32);
  const Lanes members = to.use(in.operands[4], 32);
  const Lanes result = to.def(pair ? d.elements[0] : d, 32);
  const Lanes predicate = pair ? to.def_predicate(d.elements[1]) : to.sink(1);
  Instr& i = to.emit(shuffle);
  i.op = {result, value, by, clamp};
  i.mode[0] = static_cast<uint8_t>(mode);
  to.set_list({members, predicate});
  return true;
}

// --- vote: op: result, predicate, members. ---

enum class VoteMode : uint8_t { kAll, kAny, kUniform };

// The lanes that vote yes, of those that `lane` asks.
LaneMask votes(const Warp& w, const Instr& i) {
  return w.predicate(i.op[1]) ^ (i.mode[1] ? kAllLanes : 0);
}

void vote(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t* members = w.at<uint32_t>(i.op[2]);
  if (!gather_members(w, i, active, members)) return;
  const LaneMask yes = votes(w, i);
  LaneMask result = 0;
  for_each_lane(active, [&](int lane) {
    const LaneMask asked = members[lane] & active;
    const bool all = (asked & ~yes) == 0;
    const bool none = (asked & yes) == 0;
    const auto mode = static_cast<VoteMode>(i.mode[0]);
    const bool outcome = mode == VoteMode::kAll ? all : mode == VoteMode::kAny ? !none : all || none;
    result |= LaneMask{outcome} << lane;
  });
  LaneMask& d = w.predicate(i.op[0]);
  d = (d & ~active) | result;
}

void ballot(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t* members = w.at<uint32_t>(i.op[2]);
  if (!gather_members(w, i, active, members)) return;
  const LaneMask yes = votes(w, i);
  for_lanes(
      active, w.at<uint32_t>(i.op[0]), [=](uint32_t asked) { return asked & active & yes; }, members);
}

bool lower_vote(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  if (!m.take("sync") || in.operands.size() != 3) return false;
  const bool ballots = m.take("ballot");
  const int mode = ballots ? 0 : m.take_any({"all", "any", "uni"});
  if (mode < 0 || !m.take(ballots ? "b32" : "pred") || !m.empty()) return false;
  bool negated = false;
  const Lanes predicate = to.use_predicate(in.operands[1], negated);
  const Lanes members = to.use(in.operands[2], 32);
  const Lanes d = ballots ? to.def(in.operands[0], 32) : to.def_predicate(in.operands[0]);
  Instr& i = to.emit(ballots ? ballot : vote);
  i.op = {d, predicate, members};
  i.mode = {static_cast<uint8_t>(mode), negated};
  return true;
}

// --- match: op: result, value, members; list: predicate of match.all. ---

template <class T>
void match(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t* members = w.at<uint32_t>(i.op[2]);
  if (!gather_members(w, i, active, members)) return;
  const T* values = w.at<T>(i.op[1]);
  uint32_t results[kWarpSize] = {};
  LaneMask all_equal = 0;
  for_each_lane(active, [&](int lane) {
    const LaneMask asked = members[lane] & active;
    for_each_lane(asked,
                  [&](int other) { results[lane] |= LaneMask{values[other] == values[lane]} << other; });
    if (results[lane] == asked) all_equal |= 1u << lane;
    if (i.list && results[lane] != asked) results[lane] = 0;
  });
  for_lanes(
      active, w.at<uint32_t>(i.op[0]), [](uint32_t x) { return x; }, results);
  if (i.list) {
    LaneMask& p = w.predicate(i.list[0]);
    p = (p & ~active) | all_equal;
  }
}

bool lower_match(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  const int mode = m.take_any({"any", "all"});
  if (!type || type->bits < 32 || mode < 0 || !m.take("sync") || !m.empty()) return false;
  const Operand& d = in.operands[0];
  const bool pair = d.form == Operand::Form::kPair;
  const Lanes value = to.use(in.operands[1], type->bits);
  const Lanes members = to.use(in.operands[2], 32);
  const Lanes result = to.def(pair ? d.elements[0] : d, 32);
  const Lanes predicate = pair ? to.def_predicate(d.elements[1]) : to.sink(1);
  to.emit(type->bits == 64 ? match<uint64_t> : match<uint32_t>).op = {result, value, members};
  if (mode == 1) to.set_list({predicate});
  return true;
}

// --- redux: op: result, value, members. ---

template <class T, auto f>
void reduce(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t* members = w.at<uint32_t>(i.op[2]);
  if (!gather_members(w, i, active, members)) return;
  const T* values = w.at<T>(i.op[1]);
  T results[kWarpSize] = {};
  for_each_lane(active, [&](int lane) {
    T result = values[lane];
    for_each_lane(members[lane] & active & ~(1u << lane),
                  [&](int other) { result = f(result, values[other]); });
    results[lane] = result;
  });
  for_lanes(
      active, w.at<T>(i.op[0]), [](T x) { return x; }, results);
}

template <class T>
Handler reduction(std::string_view op) {
  if (op == "add") return reduce<T, [](T a, T b) { return static_cast<T>(uint32_t(a) + uint32_t(b)); }>;
  if (op == "min") return reduce<T, [](T a, T b) { return std::min(a, b); }>;
  if (op == "max") return reduce<T, [](T a, T b) { return std::max(a, b); }>;
  if (op == "and") return reduce<T, [](T a, T b) { return a & b; }>;
  if (op == "or") return reduce<T, [](T a, T b) { return a | b; }>;
  if (op == "xor") return reduce<T, [](T a, T b) { return a ^ b; }>;
  return nullptr;
}

bool lower_reduction(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || !type->is_integer() || type->bits != 32 || !m.take("sync") || in.modifiers.size() != 3)
    return false;
  const std::string_view op = in.modifiers[1];
  const Handler handler = type->kind == ptx::Kind::kSigned ? reduction<int32_t>(op) : reduction<uint32_t>(op);
  if (!handler) return false;
  const Lanes value = to.use(in.operands[1], 32);
  const Lanes members = to.use(in.operands[2], 32);
  const Lanes d = to.def(in.operands[0], 32);
  to.emit(handler).op = {d, value, members};
  return true;
}

// --- The rest. ---

void active_mask(Warp& w, const Instr& i, LaneMask active) {
  for_lanes(active, w.at<uint32_t>(i.op[0]), [active]() { return active; });
}

bool lower_active_mask(Lowering& to, const ptx::Instruction& in) {
  const Lanes d = to.def(in.operands[0], 32);
  to.emit(active_mask).op = {d};
  return true;
}

void synchronise(Warp& w, const Instr& i, LaneMask active) {
  if (gather_members(w, i, active, w.at<uint32_t>(i.op[0]))) w.block().synchronise_warp(w);
}

bool lower_warp_barrier(Lowering& to, const ptx::Instruction& in) {
  const Lanes members = to.use(in.operands[0], 32);
  to.emit(synchronise, Nature::kEffect).op = {members};
  return true;
}

}  // namespace

bool lower_warp(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode == "shfl") return lower_shuffle(to, in);
  if (in.opcode == "vote") return lower_vote(to, in);
  if (in.opcode == "match") return lower_match(to, in);
  if (in.opcode == "redux") return lower_reduction(to, in);
  if (in.spelling == "activemask.b32") return lower_active_mask(to, in);
  if (in.spelling == "bar.warp.sync") return lower_warp_barrier(to, in);
  return false;
}

}  // namespace trireme::vgpu
