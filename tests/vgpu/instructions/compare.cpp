// setp, set, testp.
#include <cmath>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;
using ptx::Operand;

// How to read a lane: `Bits` in the register, a number by read().
template <class T>
struct Plain {
  using Bits = T;
  static T read(T x) { return x; }
};
struct FlushedFloat {
  using Bits = uint32_t;
  static float read(uint32_t x) { return std::bit_cast<float>(x & 0x7f800000 ? x : x & 0x80000000); }
};
template <class Format>
struct Half {
  using Bits = uint16_t;
  static float read(uint16_t x) { return widen<Format>(x); }
};
template <class Format, int shift>
struct HalfOfPair {
  using Bits = uint32_t;
  static float read(uint32_t x) { return widen<Format>(static_cast<uint16_t>(x >> shift)); }
};

enum Mode { kCombine, kNegateThird };
enum Combine { kNone, kAnd, kOr, kXor };

LaneMask combine(LaneMask a, LaneMask b, uint8_t how) {
  switch (how) {
    case kAnd:
      return a & b;
    case kOr:
      return a | b;
    case kXor:
      return a ^ b;
    default:
      return a;
  }
}

// op: result, a, b, third predicate; list[0]: the second result, which gets the opposite.
template <class Reader, auto f>
void compare(Warp& w, const Instr& i, LaneMask active) {
  LaneMask result = 0;
  set_predicate(
      kAllLanes, result, [](auto a, auto b) { return f(Reader::read(a), Reader::read(b)); },
      w.at<typename Reader::Bits>(i.op[1]), w.at<typename Reader::Bits>(i.op[2]));
  const LaneMask third = w.predicate(i.op[3]) ^ (i.mode[kNegateThird] ? kAllLanes : 0);
  const LaneMask yes = combine(result, third, i.mode[kCombine]);
  const LaneMask no = combine(~result, third, i.mode[kCombine]);
  const auto put = [active](LaneMask& d, LaneMask value) { d = (d & ~active) | (value & active); };
  if (i.list) put(w.predicate(i.list[0]), no);
  put(w.predicate(i.op[0]), yes);
}

template <class Reader>
Handler by_order(std::string_view op) {
  if (op == "eq") return compare<Reader, [](auto a, auto b) { return a == b; }>;
  if (op == "ne") return compare<Reader, [](auto a, auto b) { return a != b && a == a && b == b; }>;
  if (op == "lt" || op == "lo") return compare<Reader, [](auto a, auto b) { return a < b; }>;
  if (op == "le" || op == "ls") return compare<Reader, [](auto a, auto b) { return a <= b; }>;
  if (op == "gt" || op == "hi") return compare<Reader, [](auto a, auto b) { return (a > b); }>;
  if (op == "ge" || op == "hs") return compare<Reader, [](auto a, auto b) { return a >= b; }>;
  return nullptr;
}

// Of floating-point numbers also the comparisons that are true with a NaN.
template <class Reader>
Handler by_float_order(std::string_view op) {
  if (op == "equ") return compare<Reader, [](auto a, auto b) { return !(a < b || a > b); }>;
  if (op == "neu") return compare<Reader, [](auto a, auto b) { return !(a == b); }>;
  if (op == "ltu") return compare<Reader, [](auto a, auto b) { return !(a >= b); }>;
  if (op == "leu") return compare<Reader, [](auto a, auto b) { return !(a > b); }>;
  if (op == "gtu") return compare<Reader, [](auto a, auto b) { return !(a <= b); }>;
  if (op == "geu") return compare<Reader, [](auto a, auto b) { return !(a < b); }>;
  if (op == "num") return compare<Reader, [](auto a, auto b) { return a == a && b == b; }>;
  if (op == "nan") return compare<Reader, [](auto a, auto b) { return a != a || b != b; }>;
  return by_order<Reader>(op);
}

Handler pick(std::string_view op, ptx::Type type, bool ftz, bool high_of_pair) {
  if (type.kind == Kind::kBfloat || (type.kind == Kind::kFloat && type.bits == 16)) {
    const bool bf16 = type.kind == Kind::kBfloat;
    if (type.packed == 1) return bf16 ? by_float_order<Half<Bf16>>(op) : by_float_order<Half<F16>>(op);
    if (high_of_pair)
      return bf16 ? by_float_order<HalfOfPair<Bf16, 16>>(op) : by_float_order<HalfOfPair<F16, 16>>(op);
    return bf16 ? by_float_order<HalfOfPair<Bf16, 0>>(op) : by_float_order<HalfOfPair<F16, 0>>(op);
  }
  if (type.kind == Kind::kFloat) {
    if (type.bits == 64) return by_float_order<Plain<double>>(op);
    return ftz ? by_float_order<FlushedFloat>(op) : by_float_order<Plain<float>>(op);
  }
  const bool is_signed = type.kind == Kind::kSigned;
  if (type.bits == 16) return is_signed ? by_order<Plain<int16_t>>(op) : by_order<Plain<uint16_t>>(op);
  if (type.bits == 32) return is_signed ? by_order<Plain<int32_t>>(op) : by_order<Plain<uint32_t>>(op);
  if (type.bits == 64) return is_signed ? by_order<Plain<int64_t>>(op) : by_order<Plain<uint64_t>>(op);
  return nullptr;
}

std::string_view take_order(Modifiers& m) {
  for (const std::string_view name : {"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ",
                                      "neu", "ltu", "leu", "gtu", "geu", "num", "nan"})
    if (m.take(name)) return name;
  return "";
}

// Emits the comparison of operands 1 and 2, combined with the predicate that is operand 3.
Instr& emit_compare(Lowering& to, const ptx::Instruction& in, Handler handler, ptx::Type type, Lanes result,
                    int how) {
  bool negated = false;
  const Lanes a = to.use(in.operands[1], type);
  const Lanes b = to.use(in.operands[2], type);
  const Lanes third = how == kNone ? lanes_of(BlockSlot::kTrue) : to.use_predicate(in.operands[3], negated);
  Instr& i = to.emit(handler);
  i.op = {result, a, b, third};
  i.mode = {static_cast<uint8_t>(how), negated};
  return i;
}

bool lower_setp(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  const std::string_view order = take_order(m);
  const bool ftz = m.take("ftz");
  const int how = m.take_any({"and", "or", "xor"}) + 1;
  const Handler handler = type ? pick(order, *type, ftz, false) : nullptr;
  if (!handler || !m.empty() || in.operands.size() != (how == kNone ? 3 : 4)) return false;
  const Operand& d = in.operands[0];
  const bool pair = d.form == Operand::Form::kPair;
  const Lanes first = to.def_predicate(pair ? d.elements[0] : d);
  if (type->packed == 2) {  // the second result is of the high numbers
    if (!pair) return false;
    emit_compare(to, in, handler, *type, first, how);
    emit_compare(to, in, pick(order, *type, ftz, true), *type, to.def_predicate(d.elements[1]), how);
    return true;
  }
  const Lanes second = pair ? to.def_predicate(d.elements[1]) : 0;
  emit_compare(to, in, handler, *type, first, how);
  if (pair) to.set_list({second});
  return true;
}

// --- set: the result as a number. ---

// op[0] gets imm where the predicate op[1] is true, else 0.
template <class T>
void spread(Warp& w, const Instr& i, LaneMask active) {
  const LaneMask yes = w.predicate(i.op[1]);
  T results[kWarpSize];
  for (int l = 0; l < kWarpSize; ++l) results[l] = yes >> l & 1 ? static_cast<T>(i.imm) : 0;
  for_lanes(
      active, w.at<T>(i.op[0]), [](T x) { return x; }, results);
}

// The same in two halves, by the predicates op[1] (low) and op[2].
void spread_pair(Warp& w, const Instr& i, LaneMask active) {
  const LaneMask low = w.predicate(i.op[1]);
  const LaneMask high = w.predicate(i.op[2]);
  const auto one = static_cast<uint32_t>(i.imm);
  uint32_t results[kWarpSize];
  for (int l = 0; l < kWarpSize; ++l) results[l] = (low >> l & 1 ? one : 0) | (high >> l & 1 ? one << 16 : 0);
  for_lanes(
      active, w.at<uint32_t>(i.op[0]), [](uint32_t x) { return x; }, results);
}

// What "true" is in the type; a pair has it in both halves.
int64_t true_value(ptx::Type type) {
  if (type.kind == Kind::kBfloat) return 0x3f80;
  if (type.kind == Kind::kFloat) return type.bits == 32 ? 0x3f800000 : 0x3c00;
  return type.bits == 16 ? 0xffff : -1;
}

bool lower_set(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto source = m.take_type();
  const auto result = m.take_type();
  const std::string_view order = take_order(m);
  const bool ftz = m.take("ftz");
  const int how = m.take_any({"and", "or", "xor"}) + 1;
  const Handler handler = source ? pick(order, *source, ftz, false) : nullptr;
  const bool pair = source && source->packed == 2;
  const bool fits =
      result && (pair ? result->register_bits() == 32 : result->packed == 1 && result->bits < 64);
  if (!handler || !fits || !m.empty() || in.operands.size() != (how == kNone ? 3 : 4)) return false;
  const Lanes low = to.temporary(1);
  emit_compare(to, in, handler, *source, low, how);
  Lanes high = low;
  if (pair) {
    high = to.temporary(1);
    emit_compare(to, in, pick(order, *source, ftz, true), *source, high, how);
  }
  to.use_temporary(low);
  to.use_temporary(high);
  const int bits = result->register_bits();
  const Lanes d = to.def(in.operands[0], bits);
  Instr& i = to.emit(pair ? spread_pair : bits == 16 ? spread<uint16_t> : spread<uint32_t>);
  i.op = {d, low, high};
  i.imm = pair && result->is_integer() ? 0xffff : true_value(*result);
  return true;
}

// --- testp. ---

template <class T, auto f>
void test(Warp& w, const Instr& i, LaneMask active) {
  set_predicate(active, w.predicate(i.op[0]), f, w.at<T>(i.op[1]));
}

template <class T>
Handler test_handler(std::string_view name) {
  if (name == "finite") return test<T, [](T x) { return std::isfinite(x); }>;
  if (name == "infinite") return test<T, [](T x) { return std::isinf(x); }>;
  if (name == "number") return test<T, [](T x) { return !std::isnan(x); }>;
  if (name == "notanumber") return test<T, [](T x) { return std::isnan(x); }>;
  if (name == "normal") return test<T, [](T x) { return std::isnormal(x); }>;
  if (name == "subnormal") return test<T, [](T x) { return std::fpclassify(x) == FP_SUBNORMAL; }>;
  return nullptr;
}

bool lower_testp(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || type->kind != Kind::kFloat || type->bits < 32 || in.modifiers.size() != 2) return false;
  const Handler handler =
      type->bits == 64 ? test_handler<double>(in.modifiers[0]) : test_handler<float>(in.modifiers[0]);
  if (!handler) return false;
  const Lanes a = to.use(in.operands[1], *type);
  const Lanes d = to.def_predicate(in.operands[0]);
  to.emit(handler).op = {d, a};
  return true;
}

}  // namespace

bool lower_compare(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode == "setp") return lower_setp(to, in);
  if (in.opcode == "set") return lower_set(to, in);
  if (in.opcode == "testp") return lower_testp(to, in);
  return false;
}

}  // namespace trireme::vgpu
