// Finds registers that may be read before they are written and adds instructions that follow them: a mask of
// undefined lanes beside each such register.  The others, in correct code nearly all, cost nothing.
#include <algorithm>
#include <deque>
#include <unordered_set>

#include "tests/vgpu/machine/lowering.h"
#include "tests/vgpu/machine/warp.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu {
namespace {

// list: masks[imm].  None of them may have an active lane.
void check_defined(Warp& w, const Instr& i, LaneMask active) {
  for (int64_t n = 0; n < i.imm; ++n) {
    const LaneMask undefined = active & w.predicate(i.list[n]);
    if (undefined)
      complain(Finding::kUninitialisedRegister,
               "the instruction depends on a register that nobody has written",
               w.where(i, std::countr_zero(undefined)));
  }
}

// list: masks of imm sources, then of mode[0] results.
void propagate(Warp& w, const Instr& i, LaneMask active) {
  LaneMask undefined = 0;
  for (int64_t n = 0; n < i.imm; ++n) undefined |= w.predicate(i.list[n]);
  for (int64_t n = i.imm; n < i.imm + i.mode[0]; ++n) {
    LaneMask& result = w.predicate(i.list[n]);
    result = (result & ~active) | (undefined & active);
  }
}

// op: mask of the result, mask of the source where the predicate list[0] is true, where it is false, of the
// predicate.
void propagate_select(Warp& w, const Instr& i, LaneMask active) {
  const LaneMask chosen = w.predicate(i.list[0]);
  const LaneMask undefined =
      (w.predicate(i.op[1]) & chosen) | (w.predicate(i.op[2]) & ~chosen) | w.predicate(i.op[3]);
  LaneMask& result = w.predicate(i.op[0]);
  result = (result & ~active) | (undefined & active);
}

bool may_be_written(Lanes lanes) {
  return lanes >= kSlotBytes * static_cast<int>(WarpSlot::kCount);
}

bool is_always(const Instr& instr) {
  return instr.guard == lanes_of(BlockSlot::kTrue);
}

using Registers = std::vector<bool>;

// `into` and `from`; whether that changed anything.
bool intersect(Registers& into, const Registers& from) {
  bool changed = false;
  for (size_t i = 0; i < into.size(); ++i) {
    if (into[i] && !from[i]) {
      into[i] = false;
      changed = true;
    }
  }
  return changed;
}

}  // namespace

// The registers with a use that is not behind a definition on every way: forward data flow over basic blocks.
std::vector<Lanes> Lowering::find_undefined() const {
  std::unordered_map<Lanes, size_t> numbers;
  const auto number = [&](Lanes lanes) { return numbers.try_emplace(lanes, numbers.size()).first->second; };
  const size_t size = kernel_.code.size();
  std::vector<bool> leads(size + 1);
  leads[0] = true;
  for (size_t i = 0; i < size; ++i) {
    for (const Lanes l : flows_[i].uses) number(l);
    for (const Lanes l : flows_[i].defs) number(l);
    number(kernel_.code[i].guard);
    for (const size_t target : flows_[i].targets) leads[labels_[target]] = true;
    if (!flows_[i].targets.empty() || !flows_[i].falls_through) leads[i + 1] = true;
  }

  // What is defined for certain where a block begins; blocks not yet reached are absent.
  std::unordered_map<size_t, Registers> at_entry;
  at_entry.emplace(0, Registers(numbers.size()));
  std::deque<size_t> work = {0};
  std::unordered_set<Lanes> undefined;
  const auto reach = [&](size_t block, const Registers& defined) {
    const auto [entry, is_new] = at_entry.try_emplace(block, defined);
    if (is_new || intersect(entry->second, defined)) work.push_back(block);
  };
  const auto check = [&](Lanes lanes, const Registers& defined) {
    if (may_be_written(lanes) && !defined[numbers.at(lanes)]) undefined.insert(lanes);
  };
  while (!work.empty()) {
    const size_t begin = work.front();
    work.pop_front();
    Registers defined = at_entry.at(begin);
    for (size_t i = begin; i < size; ++i) {
      if (i != begin && leads[i]) {
        reach(i, defined);
        break;
      }
      check(kernel_.code[i].guard, defined);
      for (const Lanes l : flows_[i].uses) check(l, defined);
      if (is_always(kernel_.code[i]))
        for (const Lanes l : flows_[i].defs) defined[numbers.at(l)] = true;
      for (const size_t target : flows_[i].targets) reach(labels_[target], defined);
      if (!flows_[i].falls_through) break;
    }
  }
  return {undefined.begin(), undefined.end()};
}

// A mask for each register that may be undefined, or is made of one that may.
Lowering::Masks Lowering::allocate_masks() {
  Masks masks;
  const auto track = [&](Lanes l) {
    return !masks.contains(l) && masks.emplace(l, allocate_register(1)).second;
  };
  for (const Lanes l : find_undefined()) track(l);
  for (bool changed = !masks.empty(); changed;) {
    changed = false;
    for (const Flow& f : flows_) {
      const bool spreads =
          f.nature != Nature::kEffect &&
          std::any_of(f.uses.begin(), f.uses.end(), [&](Lanes l) { return masks.contains(l); });
      if (!spreads) continue;
      for (const Lanes l : f.defs) changed |= track(l);
    }
  }
  return masks;
}

// What has to come before the instruction.
std::vector<Instr> Lowering::tracking(const Instr& instr, const Flow& flow, const Masks& masks) {
  std::vector<Instr> result;
  const auto add = [&](Handler handler, const std::vector<Lanes>& list, size_t imm) -> Instr& {
    Instr added;
    added.run = handler;
    added.statement = instr.statement;
    added.guard = instr.guard;
    added.guard_flip = instr.guard_flip;
    added.imm = static_cast<int64_t>(imm);
    kernel_.lists.push_back(list);
    added.list = kernel_.lists.back().data();
    result.push_back(added);
    return result.back();
  };
  const auto mask_of = [&](Lanes l) { return masks.contains(l) ? masks.at(l) : constant(0, 32); };
  const auto masks_of = [&](const std::vector<Lanes>& registers) {
    std::vector<Lanes> tracked;
    for (const Lanes l : registers)
      if (masks.contains(l)) tracked.push_back(masks.at(l));
    return tracked;
  };

  if (masks.contains(instr.guard)) {
    Instr& check = add(check_defined, {masks.at(instr.guard)}, 1);
    check.guard = lanes_of(BlockSlot::kTrue);
    check.guard_flip = 0;
  }
  std::vector<Lanes> uses = masks_of(flow.uses);
  const std::vector<Lanes> defs = masks_of(flow.defs);
  if (flow.nature == Nature::kEffect) {
    if (!uses.empty()) add(check_defined, uses, uses.size());
    uses.clear();  // the results are defined
  }
  if (defs.empty()) return result;
  if (flow.nature == Nature::kSelect) {
    add(propagate_select, {instr.op[3]}, 0).op = {defs[0], mask_of(instr.op[1]), mask_of(instr.op[2]),
                                                  mask_of(instr.op[3])};
  } else {
    const size_t num_uses = uses.size();
    uses.insert(uses.end(), defs.begin(), defs.end());
    add(propagate, uses, num_uses).mode[0] = static_cast<uint8_t>(defs.size());
  }
  return result;
}

void Lowering::track_undefined() {
  const Masks masks = allocate_masks();
  if (masks.empty()) return;
  for (const auto& [lanes, mask] : masks) kernel_.undefined.push_back(mask);
  std::vector<Instr> code;
  std::vector<Flow> flows;
  std::vector<size_t> moved;  // old index -> new one, of the first instruction added before it
  for (size_t i = 0; i < kernel_.code.size(); ++i) {
    moved.push_back(code.size());
    for (const Instr& added : tracking(kernel_.code[i], flows_[i], masks)) {
      code.push_back(added);
      flows.emplace_back();
    }
    code.push_back(kernel_.code[i]);
    flows.push_back(flows_[i]);
  }
  moved.push_back(code.size());
  for (size_t& label : labels_) label = moved[label];
  kernel_.code = std::move(code);
  flows_ = std::move(flows);
}

}  // namespace trireme::vgpu
