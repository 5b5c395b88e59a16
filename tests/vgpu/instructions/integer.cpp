// Integer arithmetic.
#include <algorithm>
#include <bit>
#include <limits>
#include <type_traits>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;

// Arithmetic that wraps; narrow operands must not become int.
template <class T>
using Wrapping = std::conditional_t<(sizeof(T) < 4), uint32_t, std::make_unsigned_t<T>>;
template <class T>
using Twice = std::conditional_t<
    sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
    std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                       std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>>>;

template <class T>
T add(T a, T b) {
  return static_cast<T>(Wrapping<T>(a) + Wrapping<T>(b));
}
template <class T>
T subtract(T a, T b) {
  return static_cast<T>(Wrapping<T>(a) - Wrapping<T>(b));
}
template <class T>
T multiply(T a, T b) {
  return static_cast<T>(Wrapping<T>(a) * Wrapping<T>(b));
}
template <class T>
T multiply_high(T a, T b) {
  return static_cast<T>(Twice<T>(a) * Twice<T>(b) >> (8 * sizeof(T)));
}
template <class T>
Twice<T> multiply_wide(T a, T b) {
  return Twice<T>(a) * Twice<T>(b);
}
template <class T>
T saturate(Twice<T> x) {
  using Limits = std::numeric_limits<T>;
  return static_cast<T>(std::clamp<Twice<T>>(x, Limits::min(), Limits::max()));
}
// By zero the result is unspecified in PTX: all ones, as the hardware gives.
template <class T>
T divide(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return subtract<T>(0, a);
  return static_cast<T>(a / b);
}
template <class T>
T remainder(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return 0;
  return static_cast<T>(a % b);
}
template <class T>
T magnitude(T a) {
  return a < 0 ? subtract<T>(0, a) : a;
}
template <class T>
T absolute_difference(T a, T b) {
  return a > b ? subtract(a, b) : subtract(b, a);
}

// The position of the highest bit that differs from the sign; all ones if there is none.
template <class T>
uint32_t find_leading_bit(T a) {
  using U = std::make_unsigned_t<T>;
  const U bits = a < 0 ? static_cast<U>(~a) : static_cast<U>(a);
  return static_cast<uint32_t>(8 * sizeof(T) - 1 - std::countl_zero(bits));
}
template <class T>
uint32_t find_leading_shift(T a) {
  const uint32_t position = find_leading_bit(a);
  return position == 0xffffffff ? position : static_cast<uint32_t>(8 * sizeof(T) - 1) - position;
}

template <class T>
T extract_field(T a, uint32_t position, uint32_t length) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  using U = std::make_unsigned_t<T>;
  position &= 0xff;
  length = std::min<uint32_t>(length & 0xff, kBits);
  if (length == 0) return 0;
  const U bits = static_cast<U>(a);
  const auto bit = [&](uint32_t n) { return bits >> std::min(n, kBits - 1) & 1; };
  const bool negative = std::is_signed_v<T> && bit(position + length - 1);
  const U mask = static_cast<U>(~U{0}) >> (kBits - length);
  const U field = (position < kBits ? bits >> position : 0) & mask;
  if (!negative) return static_cast<T>(field);
  const uint32_t valid = position < kBits ? std::min(length, kBits - position) : 0;  // the rest is sign
  const U valid_mask = valid == 0 ? 0 : static_cast<U>(~U{0}) >> (kBits - valid);
  return static_cast<T>((field & valid_mask) | ~valid_mask);
}

template <class T>
T insert_field(T a, T into, uint32_t position, uint32_t length) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  position &= 0xff;
  length &= 0xff;
  if (position >= kBits || length == 0) return into;
  const T ones = length >= kBits ? ~T{0} : (T{1} << length) - 1;
  const T mask = ones << position;
  return (into & ~mask) | (a << position & mask);
}

// `length` ones from a position on.
template <bool wrap>
uint32_t make_mask(uint32_t position, uint32_t length) {
  position = wrap ? position % 32 : std::min(position, 32u);
  length = wrap ? length % 32 : std::min(length, 32u);
  return static_cast<uint32_t>(((uint64_t{1} << length) - 1) << position);
}

// The sum of four products of bytes (dp4a), or of two of halves and bytes (dp2a).
template <class A, class B>
uint32_t dot4(uint32_t a, uint32_t b, uint32_t c) {
  for (int n = 0; n < 4; ++n) c += static_cast<uint32_t>(A(a >> 8 * n) * B(b >> 8 * n));
  return c;
}
template <class A, class B, bool high>
uint32_t dot2(uint32_t a, uint32_t b, uint32_t c) {
  for (int n = 0; n < 2; ++n) c += static_cast<uint32_t>(A(a >> 16 * n) * B(b >> 8 * (n + (high ? 2 : 0))));
  return c;
}

// --- Handlers by type. ---

template <class T>
Handler binary(std::string_view op, bool saturates) {
  if (saturates && op == "add")
    return map2<T, T, T, [](T a, T b) { return saturate<T>(Twice<T>(a) + Twice<T>(b)); }>;
  if (saturates && op == "sub")
    return map2<T, T, T, [](T a, T b) { return saturate<T>(Twice<T>(a) - Twice<T>(b)); }>;
  if (saturates) return nullptr;
  if (op == "add") return map2<T, T, T, add<T>>;
  if (op == "sub") return map2<T, T, T, subtract<T>>;
  if (op == "div") return map2<T, T, T, divide<T>>;
  if (op == "rem") return map2<T, T, T, remainder<T>>;
  if (op == "min") return map2<T, T, T, [](T a, T b) { return b < a ? b : a; }>;
  if (op == "max") return map2<T, T, T, [](T a, T b) { return a < b ? b : a; }>;
  return nullptr;
}

template <class T>
Handler unary(std::string_view op) {
  if (op == "abs") return map1<T, T, magnitude<T>>;
  if (op == "neg") return map1<T, T, [](T a) { return subtract<T>(0, a); }>;
  return nullptr;
}

template <class T>
Handler multiplication(std::string_view part, bool adds) {
  if (part == "lo")
    return adds ? Handler(map3<T, T, T, T, [](T a, T b, T c) { return add(multiply(a, b), c); }>)
                : Handler(map2<T, T, T, multiply<T>>);
  if (part == "hi")
    return adds ? Handler(map3<T, T, T, T, [](T a, T b, T c) { return add(multiply_high(a, b), c); }>)
                : Handler(map2<T, T, T, multiply_high<T>>);
  if constexpr (sizeof(T) < 8) {
    using W = Twice<T>;
    if (part == "wide")
      return adds ? Handler(map3<W, T, T, W, [](T a, T b, W c) { return add<W>(multiply_wide(a, b), c); }>)
                  : Handler(map2<W, T, T, multiply_wide<T>>);
  }
  return nullptr;
}

template <class T>
Handler by_name(std::string_view op, std::string_view part, bool saturates) {
  if (op == "mul" || op == "mad") return multiplication<T>(part, op == "mad");
  if (op == "sad") return map3<T, T, T, T, [](T a, T b, T c) { return add(absolute_difference(a, b), c); }>;
  if (Handler handler = binary<T>(op, saturates)) return handler;
  return unary<T>(op);
}

// Calls f with a value of the C++ type, or returns null for one that has no such arithmetic.
template <class F>
Handler with_type(ptx::Type type, F f) {
  const bool is_signed = type.kind == Kind::kSigned;
  if (!type.is_integer()) return nullptr;
  if (type.bits == 16) return is_signed ? f(int16_t{}) : f(uint16_t{});
  if (type.bits == 32) return is_signed ? f(int32_t{}) : f(uint32_t{});
  if (type.bits == 64) return is_signed ? f(int64_t{}) : f(uint64_t{});
  return nullptr;
}

// Emits the handler for a destination of `result_bits` and sources of the type, the last one as wide as
// `last_bits`.
void emit_plain(Lowering& to, const ptx::Instruction& in, Handler handler, int result_bits, int bits,
                int last_bits) {
  std::array<Lanes, 4> op{};
  for (size_t n = 1; n < in.operands.size() && n < 4; ++n)
    op[n] = to.use(in.operands[n], n == 3 ? last_bits : bits);
  op[0] = to.def(in.operands[0], result_bits);
  to.emit(handler).op = op;
}

bool lower_arithmetic(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || !type->is_integer()) return false;
  std::string_view part;
  for (const std::string_view name : {"lo", "hi", "wide"})
    if (m.take(name)) part = name;
  const bool saturates = m.take("sat");
  if (!m.empty()) return false;
  const Handler handler =
      with_type(*type, [&](auto t) { return by_name<decltype(t)>(in.opcode, part, saturates); });
  if (!handler) return false;
  const int result_bits = part == "wide" ? 2 * type->bits : type->bits;
  emit_plain(to, in, handler, result_bits, type->bits, result_bits);
  return true;
}

// mul24 and mad24 of the low halves: the operands have at most 24 bits.
template <class T>
T multiply24(T a, T b) {
  constexpr int kUnused = 8;
  return multiply(T(T(uint32_t(a) << kUnused) >> kUnused), T(T(uint32_t(b) << kUnused) >> kUnused));
}

template <class T>
Handler multiplication24(bool adds) {
  if (adds) return map3<T, T, T, T, [](T a, T b, T c) { return add(multiply24(a, b), c); }>;
  return map2<T, T, T, multiply24<T>>;
}

bool lower_24(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || type->bits != 32 || !m.take("lo") || !m.empty()) return false;
  const bool adds = in.opcode == "mad24";
  emit_plain(to, in,
             type->kind == Kind::kSigned ? multiplication24<int32_t>(adds) : multiplication24<uint32_t>(adds),
             32, 32, 32);
  return true;
}

// --- Carries: a predicate of its own. ---

enum CarryMode { kCarryIn, kCarryOut, kSubtracts };

template <class T>
void add_with_carry(Warp& w, const Instr& i, LaneMask active) {
  LaneMask& carry = w.predicate(i.list[0]);
  const T* a = w.at<T>(i.op[1]);
  const T* b = w.at<T>(i.op[2]);
  T* d = w.at<T>(i.op[0]);
  LaneMask carries = 0;
  T results[kWarpSize];
  for (int l = 0; l < kWarpSize; ++l) {
    const T carry_in = i.mode[kCarryIn] ? carry >> l & 1 : 0;
    using W = unsigned __int128;
    const W sum = i.mode[kSubtracts] ? W(a[l]) - b[l] - carry_in : W(a[l]) + b[l] + carry_in;
    results[l] = static_cast<T>(sum);
    carries |= LaneMask(sum >> (8 * sizeof(T)) & 1) << l;
  }
  for_lanes(
      active, d, [](T x) { return x; }, results);
  if (i.mode[kCarryOut]) carry = (carry & ~active) | (carries & active);
}

void emit_carrying(Lowering& to, Lanes d, Lanes a, Lanes b, int bits, bool in, bool out, bool subtracts) {
  Instr& i = to.emit(bits == 64 ? add_with_carry<uint64_t> : add_with_carry<uint32_t>);
  i.op = {d, a, b};
  i.mode = {in, out, subtracts};
  to.set_list({to.carry()});
}

bool lower_carry(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  const bool out = m.take("cc");
  const bool carries_in = in.opcode == "addc" || in.opcode == "subc" || in.opcode == "madc";
  if (!type || type->bits < 32 || (!out && !carries_in)) return false;
  const bool subtracts = in.opcode.starts_with("sub");
  const int bits = type->bits;
  Lanes a = to.use(in.operands[1], bits);
  Lanes b = to.use(in.operands[2], bits);
  if (in.opcode.starts_with("mad")) {  // a product and then an addition
    const bool high = m.take("hi");
    if (!high && !m.take("lo")) return false;
    const std::string_view part = high ? "hi" : "lo";
    const Lanes product = to.temporary(bits);
    to.emit(with_type(*type, [&](auto t) { return multiplication<decltype(t)>(part, false); })).op = {product,
                                                                                                      a, b};
    a = to.use_temporary(product);
    b = to.use(in.operands[3], bits);
  }
  if (!m.empty()) return false;
  emit_carrying(to, to.def(in.operands[0], bits), a, b, bits, carries_in, out, subtracts);
  return true;
}

// --- Bits. ---

// Of one source, with a result of 32 bits or as wide as the source.
template <class T>
Handler bit_handler(std::string_view op, bool shift_amount) {
  using U = std::make_unsigned_t<T>;
  if (op == "popc") return map1<uint32_t, U, [](U a) { return uint32_t(std::popcount(a)); }>;
  if (op == "clz") return map1<uint32_t, U, [](U a) { return uint32_t(std::countl_zero(a)); }>;
  if (op == "bfind")
    return shift_amount ? map1<uint32_t, T, find_leading_shift<T>> : map1<uint32_t, T, find_leading_bit<T>>;
  return nullptr;
}

template <class T>
T reverse(T a) {
  T result = 0;
  for (size_t n = 0; n < 8 * sizeof(T); ++n) result |= (a >> n & 1) << (8 * sizeof(T) - 1 - n);
  return result;
}

template <class T>
void insert_fields(Warp& w, const Instr& i, LaneMask active) {
  for_lanes(active, w.at<T>(i.op[0]), insert_field<T>, w.at<T>(i.op[1]), w.at<T>(i.op[2]),
            w.at<uint32_t>(i.op[3]), w.at<uint32_t>(i.list[0]));
}

bool lower_bits(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  const bool shift_amount = m.take("shiftamt");
  if (!type || !m.empty() || !type->is_integer() || type->bits < 32) return false;
  const int bits = type->bits;
  if (in.opcode == "brev") {
    emit_plain(to, in,
               bits == 64 ? map1<uint64_t, uint64_t, reverse<uint64_t>>
                          : map1<uint32_t, uint32_t, reverse<uint32_t>>,
               bits, bits, bits);
  } else if (in.opcode == "bfe") {
    const Handler handler = with_type(*type, [](auto t) {
      using T = decltype(t);
      return Handler(map3<T, T, uint32_t, uint32_t, extract_field<T>>);
    });
    const Lanes a = to.use(in.operands[1], bits);
    const Lanes position = to.use(in.operands[2], 32);
    const Lanes length = to.use(in.operands[3], 32);
    const Lanes d = to.def(in.operands[0], bits);
    to.emit(handler).op = {d, a, position, length};
  } else if (in.opcode == "bfi") {
    const Lanes a = to.use(in.operands[1], bits);
    const Lanes into = to.use(in.operands[2], bits);
    const Lanes position = to.use(in.operands[3], 32);
    const Lanes length = to.use(in.operands[4], 32);
    const Lanes d = to.def(in.operands[0], bits);
    to.emit(bits == 64 ? insert_fields<uint64_t> : insert_fields<uint32_t>).op = {d, a, into, position};
    to.set_list({length});
  } else {
    const Handler handler =
        with_type(*type, [&](auto t) { return bit_handler<decltype(t)>(in.opcode, shift_amount); });
    if (!handler) return false;
    emit_plain(to, in, handler, 32, bits, bits);
  }
  return true;
}

bool lower_mask(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const int wrap = m.take_any({"clamp", "wrap"});
  if (wrap < 0 || !m.take("b32") || !m.empty()) return false;
  using W = uint32_t;
  emit_plain(to, in, wrap ? map2<W, W, W, make_mask<true>> : map2<W, W, W, make_mask<false>>, 32, 32, 32);
  return true;
}

bool lower_dot(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto b = m.take_type();
  const auto a = m.take_type();
  if (!a || !b || a->bits != 32 || b->bits != 32) return false;
  const int signs = (a->kind == Kind::kSigned ? 2 : 0) | (b->kind == Kind::kSigned ? 1 : 0);
  constexpr Handler kDot4[] = {map3<uint32_t, uint32_t, uint32_t, uint32_t, dot4<uint8_t, uint8_t>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot4<uint8_t, int8_t>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot4<int8_t, uint8_t>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot4<int8_t, int8_t>>};
  constexpr Handler kDot2[] = {map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<uint16_t, uint8_t, false>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<uint16_t, int8_t, false>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<int16_t, uint8_t, false>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<int16_t, int8_t, false>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<uint16_t, uint8_t, true>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<uint16_t, int8_t, true>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<int16_t, uint8_t, true>>,
                               map3<uint32_t, uint32_t, uint32_t, uint32_t, dot2<int16_t, int8_t, true>>};
  Handler handler = kDot4[signs];
  if (in.opcode == "dp2a") {
    const int half = m.take_any({"lo", "hi"});
    if (half < 0) return false;
    handler = kDot2[4 * half + signs];
  }
  if (!m.empty()) return false;
  emit_plain(to, in, handler, 32, 32, 32);
  return true;
}

}  // namespace

bool lower_integer(Lowering& to, const ptx::Instruction& in) {
  const std::string_view op = in.opcode;
  if (op == "dp4a" || op == "dp2a") return lower_dot(to, in);
  if (op == "bmsk") return lower_mask(to, in);
  if (op == "mul24" || op == "mad24") return lower_24(to, in);
  if (op == "popc" || op == "clz" || op == "bfind" || op == "brev" || op == "bfe" || op == "bfi")
    return lower_bits(to, in);
  return lower_carry(to, in) || lower_arithmetic(to, in);
}

}  // namespace trireme::vgpu
