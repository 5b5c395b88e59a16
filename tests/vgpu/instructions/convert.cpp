// cvt.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <immintrin.h>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/instructions/rounding.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;

// A conversion in general, kept in Instr::imm.
struct Conversion {
  Kind to_kind;
  uint8_t to_bits;
  Kind from_kind;
  uint8_t from_bits;
  Round round;
  bool to_whole;  // .rni and its like: to a whole number
  bool ftz : 1;
  bool sat : 1;
  bool relu : 1;
  uint8_t unused = 0;

  bool from_float() const { return from_kind == Kind::kFloat || from_kind == Kind::kBfloat; }
  bool to_float() const { return to_kind == Kind::kFloat || to_kind == Kind::kBfloat; }
};
static_assert(sizeof(Conversion) == sizeof(int64_t));

double flush(double x) {
  return std::fabs(x) < 0x1p-126 ? std::copysign(0.0, x) : x;
}

double read_float(const Conversion& c, uint64_t bits) {
  if (c.from_kind == Kind::kBfloat) return widen<Bf16>(static_cast<uint16_t>(bits));
  if (c.from_bits == 16) return widen<F16>(static_cast<uint16_t>(bits));
  if (c.from_bits == 64) return std::bit_cast<double>(bits);
  const double x = std::bit_cast<float>(static_cast<uint32_t>(bits));
  return c.ftz ? flush(x) : x;
}

double round_to_whole(double x, Round round) {
  switch (round) {
    case Round::kNearest:
      return std::nearbyint(x);
    case Round::kZero:
      return std::trunc(x);
    case Round::kDown:
      return std::floor(x);
    case Round::kUp:
      return std::ceil(x);
  }
  return x;
}

uint64_t write_float(const Conversion& c, double x) {
  if (c.sat) x = x > 0 ? std::fmin(x, 1.0) : 0.0;
  if (c.relu && x <= 0) x = 0;
  if (c.to_kind == Kind::kBfloat) return narrow<Bf16>(x, c.round);
  if (c.to_bits == 16) return narrow<F16>(x, c.round);
  if (c.to_bits == 64) return std::bit_cast<uint64_t>(x);
  const float result = static_cast<float>(x);
  if (result != result) return kFloatNan;
  return std::bit_cast<uint32_t>(c.ftz ? static_cast<float>(flush(result)) : result);
}

// Clamped to the range of the type; NaN becomes 0.
uint64_t float_to_integer(const Conversion& c, double x) {
  if (x != x) return 0;
  x = round_to_whole(x, c.round);
  const double limit = std::ldexp(1.0, c.to_kind == Kind::kSigned ? c.to_bits - 1 : c.to_bits);
  if (c.to_kind == Kind::kSigned) {
    if (x >= limit) return static_cast<uint64_t>(~0ull >> (65 - c.to_bits));
    if (x < -limit) return static_cast<uint64_t>(1ull << (c.to_bits - 1));
    return static_cast<uint64_t>(static_cast<int64_t>(x));
  }
  if (x >= limit) return ~0ull >> (64 - c.to_bits);
  return x <= 0 ? 0 : static_cast<uint64_t>(x);
}

// The integer, with its sign or with zeros in front.
uint64_t read_integer(const Conversion& c, uint64_t bits) {
  const int unused = 64 - c.from_bits;
  if (c.from_kind == Kind::kSigned)
    return static_cast<uint64_t>(static_cast<int64_t>(bits << unused) >> unused);
  return bits << unused >> unused;
}

uint64_t integer_to_integer(const Conversion& c, uint64_t x) {
  if (!c.sat) return x;
  const bool negative = c.from_kind == Kind::kSigned && static_cast<int64_t>(x) < 0;
  if (c.to_kind == Kind::kSigned) {
    const int64_t highest = static_cast<int64_t>(~0ull >> (65 - c.to_bits));
    if (negative) return static_cast<uint64_t>(std::max(static_cast<int64_t>(x), -highest - 1));
    return std::min(x, static_cast<uint64_t>(highest));
  }
  return negative ? 0 : std::min(x, ~uint64_t{0} >> (64 - c.to_bits));
}

// To f32 and f64 by the host's unit, which rounds as the scope around says.
uint64_t integer_to_float(const Conversion& c, uint64_t x) {
  const bool is_signed = c.from_kind == Kind::kSigned;
  if (c.to_bits == 32) {
    const float result = is_signed ? static_cast<float>(static_cast<int64_t>(x)) : static_cast<float>(x);
    return c.sat ? write_float(c, result) : std::bit_cast<uint32_t>(result);
  }
  return write_float(c, is_signed ? static_cast<double>(static_cast<int64_t>(x)) : static_cast<double>(x));
}

uint64_t convert_one(const Conversion& c, uint64_t bits) {
  if (!c.from_float()) {
    const uint64_t x = read_integer(c, bits);
    return c.to_float() ? integer_to_float(c, x) : integer_to_integer(c, x);
  }
  double x = read_float(c, bits);
  if (!c.to_float()) return float_to_integer(c, x);
  if (c.to_whole) x = round_to_whole(x, c.round);
  return write_float(c, x);
}

// D and S are the registers; D is filled with the sign of a signed result.
template <class D, class S>
void convert(Warp& w, const Instr& i, LaneMask active) {
  const auto c = std::bit_cast<Conversion>(i.imm);
  const int unused = 64 - c.to_bits;
  const S* from = w.at<S>(i.op[1]);
  D* to = w.at<D>(i.op[0]);
  const RoundingScope scope(c.to_whole ? Round::kNearest : c.round);
  for_each_lane(active, [&](int lane) {
    const uint64_t bits = convert_one(c, from[lane]) << unused;
    to[lane] = static_cast<D>(c.to_kind == Kind::kSigned
                                  ? static_cast<uint64_t>(static_cast<int64_t>(bits) >> unused)
                                  : bits >> unused);
  });
}

template <class D>
Handler by_source(int bits) {
  return bits == 16 ? convert<D, uint16_t> : bits == 32 ? convert<D, uint32_t> : convert<D, uint64_t>;
}

// The conversions that loops are full of; null for others.
Handler common_handler(const Conversion& c) {
  const auto is = [&](Kind to, int to_bits, Kind from, int from_bits) {
    return c.to_kind == to && c.to_bits == to_bits && c.from_kind == from && c.from_bits == from_bits;
  };
  if (c.sat || c.relu || c.ftz || c.to_whole || c.round != Round::kNearest) return nullptr;
  if (is(Kind::kUnsigned, 64, Kind::kUnsigned, 32))
    return map1<uint64_t, uint32_t, [](uint32_t x) { return uint64_t{x}; }>;
  if (is(Kind::kSigned, 64, Kind::kSigned, 32))
    return map1<int64_t, int32_t, [](int32_t x) { return int64_t{x}; }>;
  if (is(Kind::kUnsigned, 32, Kind::kUnsigned, 64))
    return map1<uint32_t, uint64_t, [](uint64_t x) { return static_cast<uint32_t>(x); }>;
  if (is(Kind::kFloat, 32, Kind::kSigned, 32))
    return map1<float, int32_t, [](int32_t x) { return static_cast<float>(x); }>;
  if (is(Kind::kFloat, 32, Kind::kBfloat, 16))
    return map1<uint32_t, uint16_t, [](uint16_t x) { return uint32_t{x} << 16; }>;
  return nullptr;
}

// --- Two numbers into one register. ---

uint16_t nearest_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  return x == x ? static_cast<uint16_t>(rounded >> 16) : kHalfNan;
}
uint16_t nearest_f16(float x) {
  return x == x ? static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)) : kHalfNan;
}

template <auto f>
constexpr Handler kPackNearest =
    map2<uint32_t, float, float, [](float high, float low) { return uint32_t{f(high)} << 16 | f(low); }>;

void pack_in_general(Warp& w, const Instr& i, LaneMask active) {
  const auto c = std::bit_cast<Conversion>(i.imm);
  for_lanes(
      active, w.at<uint32_t>(i.op[0]),
      [c](float high, float low) {
        return static_cast<uint32_t>(write_float(c, high) << 16 | write_float(c, low));
      },
      w.at<float>(i.op[1]), w.at<float>(i.op[2]));
}

bool lower_pair(Lowering& to, const ptx::Instruction& in, Conversion c) {
  if (c.from_kind != Kind::kFloat || c.from_bits != 32 || in.operands.size() != 3) return false;
  const bool plain = c.round == Round::kNearest && !c.sat && !c.relu;
  const Lanes high = to.use(in.operands[1], 32);
  const Lanes low = to.use(in.operands[2], 32);
  const Lanes d = to.def(in.operands[0], 32);
  Instr& i = to.emit(!plain                       ? pack_in_general
                     : c.to_kind == Kind::kBfloat ? kPackNearest<nearest_bf16>
                                                  : kPackNearest<nearest_f16>);
  i.op = {d, high, low};
  i.imm = std::bit_cast<int64_t>(c);
  return true;
}

// cvt.rna.tf32.f32: 10 bits of mantissa, ties away from zero.
bool lower_tf32(Lowering& to, const ptx::Instruction& in, Modifiers& m) {
  if (!m.take("rna") || !m.empty()) return false;
  const Lanes a = to.use(in.operands[1], 32);
  const Lanes d = to.def(in.operands[0], 32);
  to.emit(map1<uint32_t, uint32_t,
               [](uint32_t x) { return (x & 0x7f800000) == 0x7f800000 ? x : (x + 0x1000) & ~0x1fffu; }>)
      .op = {d, a};
  return true;
}

}  // namespace

bool lower_convert(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode != "cvt") return false;
  Modifiers m(in);
  const auto from = m.take_type();
  if (m.take("tf32")) return lower_tf32(to, in, m);
  const auto result = m.take_type();
  if (!from || !result) return false;
  const int whole = m.take_any({"rni", "rzi", "rmi", "rpi"});
  const Round round = whole >= 0 ? static_cast<Round>(whole) : take_rounding(m);
  Conversion c{result->kind, result->bits, from->kind, from->bits, round, whole >= 0, false, false, false};
  c.ftz = m.take("ftz");
  c.sat = m.take("sat");
  c.relu = m.take("relu");
  if (!m.empty()) return false;
  if (result->packed == 2) return lower_pair(to, in, c);
  const int from_bits = std::max(to.register_bits(in.operands[1], from->bits), 16);
  const int to_bits = std::max(to.register_bits(in.operands[0], result->bits), 16);
  Handler handler = nullptr;
  if (from_bits == from->bits && to_bits == result->bits) handler = common_handler(c);
  if (!handler)
    handler = to_bits == 16   ? by_source<uint16_t>(from_bits)
              : to_bits == 32 ? by_source<uint32_t>(from_bits)
                              : by_source<uint64_t>(from_bits);
  const Lanes a = to.use(in.operands[1], from_bits);
  const Lanes d = to.def(in.operands[0], to_bits);
  Instr& i = to.emit(handler);
  i.op = {d, a};
  i.imm = std::bit_cast<int64_t>(c);
  return true;
}

}  // namespace trireme::vgpu
