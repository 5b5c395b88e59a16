// Bitwise logic, shifts, moves and selection: instructions that don't care what the bits mean.
#include <algorithm>
#include <chrono>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;
using ptx::Operand;

// --- Logic. ---

template <class T>
Handler logic_handler(std::string_view op) {
  if (op == "and") return map2<T, T, T, [](T a, T b) { return T(a & b); }>;
  if (op == "or") return map2<T, T, T, [](T a, T b) { return T(a | b); }>;
  if (op == "xor") return map2<T, T, T, [](T a, T b) { return T(a ^ b); }>;
  if (op == "not") return map1<T, T, [](T a) { return T(~a); }>;
  if (op == "cnot") return map1<T, T, [](T a) { return T(a == 0); }>;
  return nullptr;
}

// Of predicates, which are masks themselves; mode[n] says whether source n is negated.
template <auto f>
void predicate_logic(Warp& w, const Instr& i, LaneMask active) {
  const LaneMask a = w.predicate(i.op[1]) ^ (i.mode[0] ? kAllLanes : 0);
  const LaneMask b = w.predicate(i.op[2]) ^ (i.mode[1] ? kAllLanes : 0);
  LaneMask& d = w.predicate(i.op[0]);
  d = (d & ~active) | (f(a, b) & active);
}

Handler predicate_handler(std::string_view op) {
  if (op == "and") return predicate_logic<[](LaneMask a, LaneMask b) { return a & b; }>;
  if (op == "or") return predicate_logic<[](LaneMask a, LaneMask b) { return a | b; }>;
  if (op == "xor") return predicate_logic<[](LaneMask a, LaneMask b) { return a ^ b; }>;
  if (op == "not") return predicate_logic<[](LaneMask a, LaneMask) { return ~a; }>;
  return predicate_logic<[](LaneMask a, LaneMask) { return a; }>;  // mov
}

void emit_predicate_logic(Lowering& to, const ptx::Instruction& in) {
  bool negated[2] = {};
  const Lanes a = to.use_predicate(in.operands[1], negated[0]);
  const Lanes b = in.operands.size() > 2 ? to.use_predicate(in.operands[2], negated[1]) : a;
  const Lanes d = to.def_predicate(in.operands[0]);
  Instr& i = to.emit(predicate_handler(in.opcode));
  i.op = {d, a, b};
  i.mode = {negated[0], negated[1]};
}

bool lower_bitwise(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || !m.empty()) return false;
  if (type->kind == Kind::kPredicate) {
    emit_predicate_logic(to, in);
    return true;
  }
  const int bits = type->bits;
  const Handler handler = bits == 16   ? logic_handler<uint16_t>(in.opcode)
                          : bits == 32 ? logic_handler<uint32_t>(in.opcode)
                                       : logic_handler<uint64_t>(in.opcode);
  const Lanes a = to.use(in.operands[1], bits);
  const Lanes b = in.operands.size() > 2 ? to.use(in.operands[2], bits) : a;
  const Lanes d = to.def(in.operands[0], bits);
  to.emit(handler).op = {d, a, b};
  return true;
}

// Any function of three bits: bit (a,b,c) of the table, for each bit of the operands.
void lop3(Warp& w, const Instr& i, LaneMask active) {
  const auto table = static_cast<uint32_t>(i.imm);
  const auto f = [table](uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d = 0;
    for (int n = 0; n < 8; ++n) {
      const uint32_t here = (n & 4 ? a : ~a) & (n & 2 ? b : ~b) & (n & 1 ? c : ~c);
      d |= table >> n & 1 ? here : 0;
    }
    return d;
  };
  for_lanes(active, w.at<uint32_t>(i.op[0]), f, w.at<uint32_t>(i.op[1]), w.at<uint32_t>(i.op[2]),
            w.at<uint32_t>(i.op[3]));
}

bool lower_lop3(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  if (!m.take("b32") || !m.empty()) return false;
  const Lanes a = to.use(in.operands[1], 32);
  const Lanes b = to.use(in.operands[2], 32);
  const Lanes c = to.use(in.operands[3], 32);
  const Lanes d = to.def(in.operands[0], 32);
  Instr& i = to.emit(lop3);
  i.op = {d, a, b, c};
  i.imm = static_cast<int64_t>(in.operands[4].bits);
  return true;
}

// --- Shifts; by more than the width nothing (or the sign) is left. ---

template <class T>
T shift_left(T a, uint32_t by) {
  return by < 8 * sizeof(T) ? static_cast<T>(a << by) : 0;
}
template <class T>
T shift_right(T a, uint32_t by) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  if (by < kBits) return static_cast<T>(a >> by);
  return a < 0 ? static_cast<T>(-1) : 0;
}

bool lower_shift(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || !m.empty() || !type->is_integer()) return false;
  const int bits = type->bits;
  const bool left = in.opcode == "shl";
  const bool is_signed = type->kind == Kind::kSigned;
  Handler handler = nullptr;
  if (bits == 16)
    handler = left        ? map2<uint16_t, uint16_t, uint32_t, shift_left<uint16_t>>
              : is_signed ? map2<int16_t, int16_t, uint32_t, shift_right<int16_t>>
                          : map2<uint16_t, uint16_t, uint32_t, shift_right<uint16_t>>;
  else if (bits == 32)
    handler = left        ? map2<uint32_t, uint32_t, uint32_t, shift_left<uint32_t>>
              : is_signed ? map2<int32_t, int32_t, uint32_t, shift_right<int32_t>>
                          : map2<uint32_t, uint32_t, uint32_t, shift_right<uint32_t>>;
  else
    handler = left        ? map2<uint64_t, uint64_t, uint32_t, shift_left<uint64_t>>
              : is_signed ? map2<int64_t, int64_t, uint32_t, shift_right<int64_t>>
                          : map2<uint64_t, uint64_t, uint32_t, shift_right<uint64_t>>;
  const Lanes a = to.use(in.operands[1], bits);
  const Lanes by = to.use(in.operands[2], 32);
  const Lanes d = to.def(in.operands[0], bits);
  to.emit(handler).op = {d, a, by};
  return true;
}

// The high (shf.l) or low (shf.r) word of the shifted pair {b, a}.
template <bool left, bool wrap>
uint32_t funnel_shift(uint32_t a, uint32_t b, uint32_t by) {
  by = wrap ? by & 31 : std::min(by, 32u);
  const uint64_t pair = uint64_t{b} << 32 | a;
  return left ? static_cast<uint32_t>(pair << by >> 32) : static_cast<uint32_t>(pair >> by);
}

bool lower_funnel_shift(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const int right = m.take_any({"l", "r"});
  const int clamp = m.take_any({"wrap", "clamp"});
  if (right < 0 || clamp < 0 || !m.take("b32") || !m.empty()) return false;
  using W = uint32_t;
  constexpr Handler kHandlers[2][2] = {
      {map3<W, W, W, W, funnel_shift<true, true>>, map3<W, W, W, W, funnel_shift<true, false>>},
      {map3<W, W, W, W, funnel_shift<false, true>>, map3<W, W, W, W, funnel_shift<false, false>>}};
  const Lanes a = to.use(in.operands[1], 32);
  const Lanes b = to.use(in.operands[2], 32);
  const Lanes by = to.use(in.operands[3], 32);
  const Lanes d = to.def(in.operands[0], 32);
  to.emit(kHandlers[right][clamp]).op = {d, a, b, by};
  return true;
}

// --- Bytes. ---

// Four of the eight bytes of {b, a}, each chosen by four bits of c, of which the highest asks for the byte's
// sign.
uint32_t permute(uint32_t a, uint32_t b, uint32_t c) {
  const uint64_t pair = uint64_t{b} << 32 | a;
  uint32_t d = 0;
  for (int n = 0; n < 4; ++n) {
    const uint32_t choice = c >> 4 * n;
    uint32_t byte = pair >> 8 * (choice & 7) & 0xff;
    if (choice & 8) byte = byte & 0x80 ? 0xff : 0;
    d |= byte << 8 * n;
  }
  return d;
}

// The special modes of prmt as selections for the general one, by the low two bits of c.
constexpr uint32_t kPermutations[6][4] = {
    {0x3210, 0x4321, 0x5432, 0x6543},  // f4e
    {0x5670, 0x6701, 0x7012, 0x0123},  // b4e
    {0x0000, 0x1111, 0x2222, 0x3333},  // rc8
    {0x3210, 0x3211, 0x3222, 0x3333},  // ecl
    {0x0000, 0x1110, 0x2210, 0x3210},  // ecr
    {0x1010, 0x3232, 0x1010, 0x3232},  // rc16
};
template <int mode>
uint32_t permute_mode(uint32_t a, uint32_t b, uint32_t c) {
  return permute(a, b, kPermutations[mode][c & 3]);
}

bool lower_permute(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const int mode = m.take_any({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  if (!m.take("b32") || !m.empty()) return false;
  using W = uint32_t;
  constexpr Handler kHandlers[] = {map3<W, W, W, W, permute>,         map3<W, W, W, W, permute_mode<0>>,
                                   map3<W, W, W, W, permute_mode<1>>, map3<W, W, W, W, permute_mode<2>>,
                                   map3<W, W, W, W, permute_mode<3>>, map3<W, W, W, W, permute_mode<4>>,
                                   map3<W, W, W, W, permute_mode<5>>};
  const Lanes a = to.use(in.operands[1], 32);
  const Lanes b = to.use(in.operands[2], 32);
  const Lanes c = to.use(in.operands[3], 32);
  const Lanes d = to.def(in.operands[0], 32);
  to.emit(kHandlers[mode + 1]).op = {d, a, b, c};
  return true;
}

// --- Moves. ---

template <class T>
constexpr Handler kMove = map1<T, T, [](T a) { return a; }>;

// imm parts from the list make the destination, lowest first.
template <class D, class S>
void pack(Warp& w, const Instr& i, LaneMask active) {
  D results[kWarpSize] = {};
  for (int64_t n = 0; n < i.imm; ++n) {
    const S* part = w.at<S>(i.list[n]);
    for (int l = 0; l < kWarpSize; ++l) results[l] |= D{part[l]} << (8 * sizeof(S) * n);
  }
  for_lanes(
      active, w.at<D>(i.op[0]), [](D x) { return x; }, results);
}

template <class D, class S>
void unpack(Warp& w, const Instr& i, LaneMask active) {
  S source[kWarpSize];  // a part's register may be the source
  std::copy_n(w.at<S>(i.op[1]), kWarpSize, source);
  for (int64_t n = 0; n < i.imm; ++n)
    for_lanes(
        active, w.at<D>(i.list[n]), [n](S x) { return static_cast<D>(x >> (8 * sizeof(D) * n)); }, source);
}

bool lower_pack(Lowering& to, const ptx::Instruction& in, int bits) {
  const bool packs = in.operands[1].form == Operand::Form::kVector;
  const auto& parts = in.operands[packs ? 1 : 0].elements;
  const int part_bits = bits / static_cast<int>(parts.size());
  std::vector<Lanes> list;
  for (const Operand& part : parts) list.push_back(packs ? to.use(part, part_bits) : to.def(part, part_bits));
  const Lanes whole = packs ? to.def(in.operands[0], bits) : to.use(in.operands[1], bits);
  Handler handler = nullptr;
  if (bits == 32 && part_bits == 16) handler = packs ? pack<uint32_t, uint16_t> : unpack<uint16_t, uint32_t>;
  if (bits == 64 && part_bits == 16) handler = packs ? pack<uint64_t, uint16_t> : unpack<uint16_t, uint64_t>;
  if (bits == 64 && part_bits == 32) handler = packs ? pack<uint64_t, uint32_t> : unpack<uint32_t, uint64_t>;
  if (!handler) return false;
  Instr& i = to.emit(handler);
  i.op = {whole, whole};
  i.imm = static_cast<int64_t>(parts.size());
  to.set_list(list);
  return true;
}

template <class T>
void read_clock(Warp& w, const Instr& i, LaneMask active) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const auto ticks = static_cast<T>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
  for_lanes(active, w.at<T>(i.op[0]), [ticks]() { return ticks; });
}

bool lower_move(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || !m.empty() || in.operands.size() != 2) return false;
  if (type->kind == Kind::kPredicate) {
    emit_predicate_logic(to, in);
    return true;
  }
  const int bits = type->register_bits();
  const Operand& source = in.operands[1];
  if (source.form == Operand::Form::kVector || in.operands[0].form == Operand::Form::kVector)
    return lower_pack(to, in, bits);
  if (source.name == "%clock" || source.name == "%clock64" || source.name == "%globaltimer") {
    const Lanes d = to.def(in.operands[0], bits);
    to.emit(bits == 64 ? read_clock<uint64_t> : read_clock<uint32_t>).op = {d};
    return true;
  }
  const Lanes a = to.use(source, *type);
  const Lanes d = to.def(in.operands[0], bits);
  to.emit(bits == 16 ? kMove<uint16_t> : bits == 32 ? kMove<uint32_t> : kMove<uint64_t>).op = {d, a};
  return true;
}

// --- Selection. ---

template <class T>
void select(Warp& w, const Instr& i, LaneMask active) {
  const LaneMask first = w.predicate(i.op[3]);
  const T* a = w.at<T>(i.op[1]);
  const T* b = w.at<T>(i.op[2]);
  T results[kWarpSize];
  for (int l = 0; l < kWarpSize; ++l) results[l] = first >> l & 1 ? a[l] : b[l];
  for_lanes(
      active, w.at<T>(i.op[0]), [](T x) { return x; }, results);
}

bool lower_select(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || !m.empty()) return false;
  const int bits = type->register_bits();
  bool negated = false;
  Lanes a = to.use(in.operands[1], *type);
  Lanes b = to.use(in.operands[2], *type);
  const Lanes predicate = to.use_predicate(in.operands[3], negated);
  if (negated) std::swap(a, b);
  const Lanes d = to.def(in.operands[0], bits);
  to.emit(bits == 16   ? select<uint16_t>
          : bits == 32 ? select<uint32_t>
                       : select<uint64_t>,
          Nature::kSelect)
      .op = {d, a, b, predicate};
  return true;
}

template <class T, class C>
constexpr Handler kSelectBySign = map3<T, T, T, C, [](T a, T b, C c) { return c >= 0 ? a : b; }>;

bool lower_select_by_sign(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  m.take("ftz");
  const auto condition = m.take_type();
  const auto type = m.take_type();
  if (!type || !condition || condition->bits != 32 || type->bits < 32 || !m.empty()) return false;
  const bool by_float = condition->kind == Kind::kFloat;
  const Lanes a = to.use(in.operands[1], *type);
  const Lanes b = to.use(in.operands[2], *type);
  const Lanes c = to.use(in.operands[3], *condition);
  const Lanes d = to.def(in.operands[0], type->bits);
  Handler handler = by_float ? kSelectBySign<uint32_t, float> : kSelectBySign<uint32_t, int32_t>;
  if (type->bits == 64)
    handler = by_float ? kSelectBySign<uint64_t, float> : kSelectBySign<uint64_t, int32_t>;
  to.emit(handler).op = {d, a, b, c};
  return true;
}

}  // namespace

bool lower_logic(Lowering& to, const ptx::Instruction& in) {
  const std::string_view op = in.opcode;
  if (op == "and" || op == "or" || op == "xor" || op == "not" || op == "cnot") return lower_bitwise(to, in);
  if (op == "lop3") return lower_lop3(to, in);
  if (op == "shl" || op == "shr") return lower_shift(to, in);
  if (op == "shf") return lower_funnel_shift(to, in);
  if (op == "prmt") return lower_permute(to, in);
  if (op == "mov") return lower_move(to, in);
  if (op == "selp") return lower_select(to, in);
  if (op == "slct") return lower_select_by_sign(to, in);
  return false;
}

}  // namespace trireme::vgpu
