// Arithmetic in f32 and f64.
#include <bit>
#include <cmath>
#include <limits>

#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/instructions/rounding.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;

// .ftz: subnormal numbers become zeros, before and after the operation.
template <bool ftz, class T>
T flush(T x) {
  if constexpr (ftz) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    return bits & 0x7f800000 ? x : std::bit_cast<float>(bits & 0x80000000);
  }
  return x;
}

// .sat: into [0, 1], where NaN becomes 0.  Operations in f32 give only one NaN.
template <bool ftz, bool sat, class T>
T finish(T x) {
  x = flush<ftz>(x);
  if constexpr (sat) {
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
  }
  if constexpr (sizeof(T) == 4) return x == x ? x : std::bit_cast<float>(kFloatNan);
  return x;
}

template <class T, auto f, int arity, bool ftz, bool sat>
void calculate(Warp& w, const Instr& i, LaneMask active) {
  T* d = w.at<T>(i.op[0]);
  const T* a = w.at<T>(i.op[1]);
  if constexpr (arity == 1) {
    for_lanes(
        active, d, [](T x) { return finish<ftz, sat>(f(flush<ftz>(x))); }, a);
  } else if constexpr (arity == 2) {
    for_lanes(
        active, d, [](T x, T y) { return finish<ftz, sat>(f(flush<ftz>(x), flush<ftz>(y))); }, a,
        w.at<T>(i.op[2]));
  } else {
    for_lanes(
        active, d,
        [](T x, T y, T z) { return finish<ftz, sat>(f(flush<ftz>(x), flush<ftz>(y), flush<ftz>(z))); }, a,
        w.at<T>(i.op[2]), w.at<T>(i.op[3]));
  }
}

struct Options {
  bool ftz = false;
  bool sat = false;
};

template <class T, auto f, int arity>
Handler with_options(Options o) {
  if constexpr (sizeof(T) == 4) {
    if (o.ftz) return o.sat ? calculate<T, f, arity, true, true> : calculate<T, f, arity, true, false>;
    if (o.sat) return calculate<T, f, arity, false, true>;
  }
  return calculate<T, f, arity, false, false>;
}

// --- The functions. ---

template <class T>
T add(T a, T b) {
  return a + b;
}
template <class T>
T subtract(T a, T b) {
  return a - b;
}
template <class T>
T multiply(T a, T b) {
  return a * b;
}
template <class T>
T divide(T a, T b) {
  return a / b;
}
template <class T>
T multiply_add(T a, T b, T c) {
  return std::fma(a, b, c);
}
template <class T>
T reciprocal(T a) {
  return 1 / a;
}
template <class T>
T square_root(T a) {
  return std::sqrt(a);
}
template <class T>
T reciprocal_square_root(T a) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(a)));
}

// A NaN loses against a number, and -0 is less than +0.
template <class T>
T minimum(T a, T b) {
  if (a == b) return std::signbit(a) ? a : b;
  return a < b || b != b ? a : b;
}
template <class T>
T maximum(T a, T b) {
  if (a == b) return std::signbit(a) ? b : a;
  return a > b || b != b ? a : b;
}
// .NaN: a NaN wins.
template <class T>
T minimum_or_nan(T a, T b) {
  return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : minimum(a, b);
}
template <class T>
T maximum_or_nan(T a, T b) {
  return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : maximum(a, b);
}

// 2^x with an error of 1e-7: 2^n times the Taylor series of 2^(x-n).
float exp2_approx(float x) {
  constexpr float kMagic = 12582912.0f;  // adding it rounds to a whole number
  const float clamped = x < -151.0f ? -151.0f : x > 129.0f ? 129.0f : x;
  const float whole = (clamped + kMagic) - kMagic;
  const float f = clamped - whole;
  float p = 1.5252734e-5f;
  p = p * f + 1.5403530e-4f;
  p = p * f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  const int n = static_cast<int>(whole == whole ? whole : 0.0f);
  const int half = n >> 1;  // in two steps, because 2^n may be subnormal
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((n - half + 127) << 23);
  return p * scale1 * scale2;
}

// rcp.approx.ftz.f64 gives only the upper half of the number.
double coarse_reciprocal(double a) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(1 / a) & 0xffffffff00000000);
}
double coarse_reciprocal_square_root(double a) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(1 / std::sqrt(a)) & 0xffffffff00000000);
}

// --- Lowering. ---

template <class T>
Handler rounding_handler(std::string_view op, Options o) {
  if (op == "add") return with_options<T, add<T>, 2>(o);
  if (op == "sub") return with_options<T, subtract<T>, 2>(o);
  if (op == "mul") return with_options<T, multiply<T>, 2>(o);
  if (op == "fma" || op == "mad") return with_options<T, multiply_add<T>, 3>(o);
  if (op == "div") return with_options<T, divide<T>, 2>(o);
  if (op == "rcp") return with_options<T, reciprocal<T>, 1>(o);
  if (op == "sqrt") return with_options<T, square_root<T>, 1>(o);
  return nullptr;
}

template <class T>
Handler exact_handler(std::string_view op, bool nan, Options o) {
  if (op == "min") return nan ? with_options<T, minimum_or_nan<T>, 2>(o) : with_options<T, minimum<T>, 2>(o);
  if (op == "max") return nan ? with_options<T, maximum_or_nan<T>, 2>(o) : with_options<T, maximum<T>, 2>(o);
  // These touch the sign only: no NaN is made.
  if (op == "copysign") return map2<T, T, T, [](T a, T b) { return std::copysign(b, a); }>;
  if (op == "abs")
    return o.ftz ? map1<T, T, [](T a) { return std::fabs(flush<sizeof(T) == 4>(a)); }>
                 : map1<T, T, [](T a) { return std::fabs(a); }>;
  if (op == "neg")
    return o.ftz ? map1<T, T, [](T a) { return -flush<sizeof(T) == 4>(a); }>
                 : map1<T, T, [](T a) { return -a; }>;
  return nullptr;
}

Handler approximate_handler(std::string_view op, Options o) {
  if (op == "ex2") return with_options<float, exp2_approx, 1>(o);
  if (op == "lg2") return with_options<float, [](float x) { return std::log2(x); }, 1>(o);
  if (op == "sin") return with_options<float, [](float x) { return std::sin(x); }, 1>(o);
  if (op == "cos") return with_options<float, [](float x) { return std::cos(x); }, 1>(o);
  if (op == "tanh") return with_options<float, [](float x) { return std::tanh(x); }, 1>(o);
  if (op == "rsqrt") return with_options<float, reciprocal_square_root<float>, 1>(o);
  return rounding_handler<float>(op, o);  // div, rcp, sqrt
}

Handler approximate_handler_f64(std::string_view op, bool ftz) {
  if (op == "rcp" && ftz) return calculate<double, coarse_reciprocal, 1, false, false>;
  if (op == "rsqrt" && ftz) return calculate<double, coarse_reciprocal_square_root, 1, false, false>;
  if (op == "rsqrt") return calculate<double, reciprocal_square_root<double>, 1, false, false>;
  return nullptr;
}

}  // namespace

bool lower_float(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto type = m.take_type();
  if (!type || type->kind != Kind::kFloat || type->bits < 32) return false;
  const bool is_double = type->bits == 64;
  const bool approximate = m.take_any({"approx", "full"}) >= 0;
  const bool nan = m.take("NaN");
  const Options options = {m.take("ftz"), m.take("sat")};
  const Round round = take_rounding(m);
  if (!m.empty() || (is_double && options.sat)) return false;
  Handler handler = nullptr;
  if (approximate)
    handler =
        is_double ? approximate_handler_f64(in.opcode, options.ftz) : approximate_handler(in.opcode, options);
  else if (is_double && options.ftz)
    return false;
  else
    handler = is_double ? rounding_handler<double>(in.opcode, options)
                        : rounding_handler<float>(in.opcode, options);
  if (!handler && !approximate)
    handler = is_double ? exact_handler<double>(in.opcode, nan, options)
                        : exact_handler<float>(in.opcode, nan, options);
  if (!handler || in.operands.size() < 2 || in.operands.size() > 4) return false;

  std::array<Lanes, 4> op{};
  for (size_t n = 1; n < in.operands.size(); ++n) op[n] = to.use(in.operands[n], *type);
  op[0] = to.def(in.operands[0], type->bits);
  Instr& i = to.emit(handler);
  i.op = op;
  set_rounding(i, round);
  return true;
}

}  // namespace trireme::vgpu
