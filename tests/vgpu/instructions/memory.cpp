// ld, st, ldu, prefetch, cvta, isspacep.
#include <cstring>

#include "tests/vgpu/instructions/access.h"
#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/memory/address_space.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;
using ptx::Operand;
using ptx::Space;

// For ld and st: op[1] is the address, imm the displacement, list the registers.
enum Mode { kSpace, kCount, kAccess, kFence };

WarpAccess begin_access(Warp& w, const Instr& i, LaneMask active, uint32_t element_bytes) {
  WarpAccess a;
  a.active = active;
  a.bytes = element_bytes * i.mode[kCount];
  a.kind = static_cast<Access>(i.mode[kAccess]);
  fill_addresses(w, i.op[1], i.imm, a);
  return a;
}

// Element T of memory becomes R in a register: wider, with the sign of T.
template <class T, class R>
void load(Warp& w, const Instr& i, LaneMask active) {
  WarpAccess a = begin_access(w, i, active, sizeof(T));
  const auto space = static_cast<Space>(i.mode[kSpace]);
  access(w, i, space, a);
  for (int n = 0; n < i.mode[kCount]; ++n) {
    R* to = w.at<R>(i.list[n]);
    for_each_lane(active,
                  [&](int lane) { to[lane] = static_cast<R>(load_relaxed<T>(a.at[lane] + n * sizeof(T))); });
  }
  if (a.kind == Access::kSyncRead) take_over_from_blocks(w, a, space);
}

template <class T, class R>
void store(Warp& w, const Instr& i, LaneMask active) {
  LaneValues values;
  for (int n = 0; n < i.mode[kCount]; ++n) {
    const R* from = w.at<R>(i.list[n]);
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const T value = static_cast<T>(from[lane]);
      std::memcpy(values[lane].data() + n * sizeof(T), &value, sizeof(T));
    }
  }
  WarpAccess a = begin_access(w, i, active, sizeof(T));
  a.stored = &values;
  const auto space = static_cast<Space>(i.mode[kSpace]);
  if (a.kind == Access::kSyncWrite) publish_to_blocks(w, a, space, i.mode[kFence]);
  access(w, i, space, a);
}

template <class T>
Handler by_register(bool loads, int register_bits) {
  switch (register_bits) {
    case 16:
      return loads ? load<T, uint16_t> : store<T, uint16_t>;
    case 32:
      return loads ? load<T, uint32_t> : store<T, uint32_t>;
    default:
      return loads ? load<T, uint64_t> : store<T, uint64_t>;
  }
}

Handler pick(bool loads, ptx::Type type, int register_bits) {
  const bool is_signed = type.kind == Kind::kSigned;
  switch (type.register_bits()) {
    case 8:
      return is_signed ? by_register<int8_t>(loads, register_bits)
                       : by_register<uint8_t>(loads, register_bits);
    case 16:
      return is_signed ? by_register<int16_t>(loads, register_bits)
                       : by_register<uint16_t>(loads, register_bits);
    case 32:
      return is_signed ? by_register<int32_t>(loads, register_bits)
                       : by_register<uint32_t>(loads, register_bits);
    default:
      return by_register<uint64_t>(loads, register_bits);
  }
}

int take_count(Modifiers& m) {
  const int index = m.take_any({"v2", "v4"});
  return index < 0 ? 1 : 2 << index;
}

// The space of the modifiers, then of the variable that the address names.
Space take_space(Modifiers& m) {
  if (m.take("shared::cta")) return Space::kShared;
  const int index = m.take_any({"global", "shared", "local", "const", "param"});
  constexpr Space kSpaces[] = {Space::kGlobal, Space::kShared, Space::kLocal, Space::kConst, Space::kParam};
  return index < 0 ? Space::kGeneric : kSpaces[index];
}

// How strongly the access is ordered.  Scopes make no difference here.
Access take_access(Modifiers& m, bool loads, bool& fence) {
  m.take_any({"cta", "cluster", "gpu", "sys"});
  if (m.take("nc")) return Access::kReadOnly;
  fence = m.take_any({"acquire", "release"}) >= 0;
  const bool synchronises = m.take_any({"volatile", "relaxed", "mmio"}) >= 0 || fence;
  m.take("weak");
  if (loads) return synchronises ? Access::kSyncRead : Access::kRead;
  return synchronises ? Access::kSyncWrite : Access::kWrite;
}

// A function that is inlined finds its parameters in local memory.
Space real_space(const Lowering& to, Space named, const Address& address) {
  if (named != Space::kParam) return named;
  if (address.space != Space::kGeneric) return address.space;
  return to.is_inlined() ? Space::kLocal : Space::kParam;
}

bool lower_load_store(Lowering& to, const ptx::Instruction& in, bool loads) {
  Modifiers m(in);
  const auto type = m.take_type();
  const int count = take_count(m);
  const Space named = take_space(m);
  bool fence = false;
  const Access kind = take_access(m, loads, fence);
  m.take_cache_hints();
  if (!type || !m.empty() || in.operands.size() < 2) return false;
  const Operand& data = in.operands[loads ? 0 : 1];
  const Address address = to.address(in.operands[loads ? 1 : 0]);
  const std::vector<Operand> single = {data};
  const auto& elements = data.form == Operand::Form::kVector ? data.elements : single;
  if (elements.size() != static_cast<size_t>(count)) to.fail("a vector of another size");
  int register_bits = std::max(16, type->register_bits());
  for (const Operand& e : elements) register_bits = std::max(register_bits, to.register_bits(e, 16));
  std::vector<Lanes> list;
  for (const Operand& e : elements)
    list.push_back(loads ? to.def(e, register_bits) : to.use(e, register_bits));
  Instr& i = to.emit(pick(loads, *type, register_bits), Nature::kEffect);
  i.op[1] = address.base;
  i.imm = address.displacement;
  i.mode = {static_cast<uint8_t>(real_space(to, named, address)), static_cast<uint8_t>(count),
            static_cast<uint8_t>(kind), static_cast<uint8_t>(fence)};
  to.set_list(list);
  return true;
}

// --- Addresses. ---

void add_constant(Warp& w, const Instr& i, LaneMask active) {
  const uint64_t addend = i.imm;
  for_lanes(
      active, w.at<uint64_t>(i.op[0]), [addend](uint64_t a) { return a + addend; }, w.at<uint64_t>(i.op[1]));
}

// Where the window of a space begins among generic addresses.
uint64_t window(Space space) {
  const AddressSpace& all = AddressSpace::get();
  if (space == Space::kShared) return all.shared_window();
  if (space == Space::kLocal) return all.local_window();
  if (space == Space::kParam) return all.param_window();
  return 0;
}

bool lower_cvta(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const bool to_space = m.take("to");
  const auto type = m.take_type();
  Space space = take_space(m);
  if (!type || type->bits != 64 || space == Space::kGeneric || !m.empty()) return false;
  if (space == Space::kParam && to.is_inlined()) space = Space::kLocal;
  const Lanes source = to.use(in.operands[1], 64);
  const Lanes result = to.def(in.operands[0], 64);
  Instr& i = to.emit(add_constant);
  i.op = {result, source};
  i.imm = static_cast<int64_t>(to_space ? 0 - window(space) : window(space));
  return true;
}

void is_in_window(Warp& w, const Instr& i, LaneMask active) {
  const uint64_t begin = i.imm;
  set_predicate(
      active, w.predicate(i.op[0]), [begin](uint64_t a) { return a - begin < AddressSpace::kWindowBytes; },
      w.at<uint64_t>(i.op[1]));
}

void is_global(Warp& w, const Instr& i, LaneMask active) {
  set_predicate(
      active, w.predicate(i.op[0]), [](uint64_t a) { return AddressSpace::get().find(a) != nullptr; },
      w.at<uint64_t>(i.op[1]));
}

bool lower_isspacep(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const Space space = take_space(m);
  if (!m.empty() || space == Space::kGeneric || space == Space::kConst) return false;
  const Lanes address = to.use(in.operands[1], 64);
  const Lanes result = to.def_predicate(in.operands[0]);
  Instr& i = to.emit(space == Space::kGlobal ? is_global : is_in_window);
  i.op = {result, address};
  i.imm = static_cast<int64_t>(window(space));
  return true;
}

}  // namespace

bool lower_memory(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode == "ld" || in.opcode == "ldu") return lower_load_store(to, in, true);
  if (in.opcode == "st") return lower_load_store(to, in, false);
  if (in.opcode == "cvta") return lower_cvta(to, in);
  if (in.opcode == "isspacep") return lower_isspacep(to, in);
  // Hints without an effect on what is computed.
  return in.opcode == "prefetch" || in.opcode == "prefetchu" || in.opcode == "applypriority";
}

}  // namespace trireme::vgpu
