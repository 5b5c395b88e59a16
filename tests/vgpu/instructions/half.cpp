// Arithmetic in f16 and bf16, single and in pairs.  Every operation is done in double, exactly or rounded to
// odd, and then rounded once.
#include <cmath>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/instructions/rounding.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;

enum Mode { kFtz, kSat, kRelu };

template <class Format>
double flush_subnormal(double x) {
  return std::fabs(x) < power_of_two(Format::kLowestExponent) ? std::copysign(0.0, x) : x;
}

template <class Format>
double read(uint16_t bits, const Instr& i) {
  const double x = widen<Format>(bits);
  return i.mode[kFtz] ? flush_subnormal<Format>(x) : x;
}

template <class Format>
uint16_t write(double x, const Instr& i) {
  if (i.mode[kSat]) x = x > 0 ? std::fmin(x, 1.0) : 0.0;
  if (i.mode[kRelu] && x <= 0) x = 0;
  const uint16_t bits = narrow<Format>(x);
  if (i.mode[kFtz] && (bits & 0x7fff) >> Format::kMantissaBits == 0) return bits & 0x8000;
  return bits;
}

double add(double a, double b, double) {
  return add_to_odd(a, b);
}
double subtract(double a, double b, double) {
  return add_to_odd(a, -b);
}
double multiply(double a, double b, double) {
  return a * b;
}
double multiply_add(double a, double b, double c) {
  return add_to_odd(a * b, c);
}
double exponential(double a, double, double) {
  return std::exp2(a);
}
double hyperbolic_tangent(double a, double, double) {
  return std::tanh(a);
}
double minimum(double a, double b, double) {
  return a == b ? (std::signbit(a) ? a : b) : std::fmin(a, b);
}
double maximum(double a, double b, double) {
  return a == b ? (std::signbit(a) ? b : a) : std::fmax(a, b);
}
double minimum_or_nan(double a, double b, double) {
  return a != a || b != b ? NAN : minimum(a, b, 0);
}
double maximum_or_nan(double a, double b, double) {
  return a != a || b != b ? NAN : maximum(a, b, 0);
}

// Bits is uint16_t for one number, uint32_t for two.  Unused operands are the first one again.
template <class Format, class Bits, auto f>
void calculate(Warp& w, const Instr& i, LaneMask active) {
  const auto one = [&i](Bits a, Bits b, Bits c, int shift) {
    const auto part = [&](Bits x) { return read<Format>(static_cast<uint16_t>(x >> shift), i); };
    return static_cast<Bits>(Bits{write<Format>(f(part(a), part(b), part(c)), i)} << shift);
  };
  const auto all = [&](Bits a, Bits b, Bits c) {
    if constexpr (sizeof(Bits) == 2) return one(a, b, c, 0);
    return static_cast<Bits>(one(a, b, c, 0) | one(a, b, c, 16 % (8 * sizeof(Bits))));
  };
  for_lanes(active, w.at<Bits>(i.op[0]), all, w.at<Bits>(i.op[1]), w.at<Bits>(i.op[2]), w.at<Bits>(i.op[3]));
}

template <auto f>
Handler by_type(ptx::Type type) {
  if (type.kind == Kind::kBfloat)
    return type.packed == 2 ? calculate<Bf16, uint32_t, f> : calculate<Bf16, uint16_t, f>;
  return type.packed == 2 ? calculate<F16, uint32_t, f> : calculate<F16, uint16_t, f>;
}

Handler arithmetic(std::string_view op, ptx::Type type, bool nan) {
  if (op == "add") return by_type<add>(type);
  if (op == "sub") return by_type<subtract>(type);
  if (op == "mul") return by_type<multiply>(type);
  if (op == "fma") return by_type<multiply_add>(type);
  if (op == "ex2") return by_type<exponential>(type);
  if (op == "tanh") return by_type<hyperbolic_tangent>(type);
  if (op == "min") return nan ? by_type<minimum_or_nan>(type) : by_type<minimum>(type);
  if (op == "max") return nan ? by_type<maximum_or_nan>(type) : by_type<maximum>(type);
  return nullptr;
}

// neg and abs touch the sign bits only.
template <class Bits>
Handler sign(std::string_view op) {
  constexpr Bits kSigns = static_cast<Bits>(0x80008000);
  if (op == "neg") return map1<Bits, Bits, [](Bits a) { return static_cast<Bits>(a ^ kSigns); }>;
  if (op == "abs") return map1<Bits, Bits, [](Bits a) { return static_cast<Bits>(a & ~kSigns); }>;
  return nullptr;
}

}  // namespace

bool lower_half(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || (type->kind != Kind::kFloat && type->kind != Kind::kBfloat) || type->bits != 16) return false;
  m.take_any({"approx", "rn"});
  const bool nan = m.take("NaN");
  const bool ftz = m.take("ftz");
  const bool sat = m.take("sat");
  const bool relu = m.take("relu");
  const int bits = type->register_bits();
  Handler handler = arithmetic(in.opcode, *type, nan);
  if (!handler && !ftz) handler = bits == 32 ? sign<uint32_t>(in.opcode) : sign<uint16_t>(in.opcode);
  if (!handler || !m.empty() || in.operands.size() < 2 || in.operands.size() > 4) return false;
  std::array<Lanes, 4> op{};
  for (size_t n = 1; n < 4; ++n) op[n] = n < in.operands.size() ? to.use(in.operands[n], bits) : op[1];
  op[0] = to.def(in.operands[0], bits);
  Instr& i = to.emit(handler);
  i.op = op;
  i.mode = {ftz, sat, relu};
  return true;
}

}  // namespace trireme::vgpu
