#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace trireme::vgpu {

enum class Round : uint8_t { kNearest, kZero, kDown, kUp };

// The 16-bit floating-point formats.
struct F16 {
  static constexpr int kMantissaBits = 10;
  static constexpr int kLowestExponent = -14;  // of a normal number
  static constexpr uint16_t kInfinity = 0x7c00;
};
struct Bf16 {
  static constexpr int kMantissaBits = 7;
  static constexpr int kLowestExponent = -126;
  static constexpr uint16_t kInfinity = 0x7f80;
};
constexpr uint16_t kHalfNan = 0x7fff;  // what every operation gives, in both formats
constexpr uint32_t kFloatNan = 0x7fffffff;

template <class Format>
inline float widen(uint16_t bits) {
  constexpr int kExponentBits = 15 - Format::kMantissaBits;
  if constexpr (kExponentBits == 8) {
    return std::bit_cast<float>(uint32_t{bits} << 16);
  } else {
    // Exponents are brought to float's by a multiplication, which subnormals survive, too.
    const uint32_t magnitude = uint32_t{bits} & 0x7fff;
    const uint32_t sign = (uint32_t{bits} & 0x8000) << 16;
    uint32_t result = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 13) * 0x1p112f);
    if (magnitude >= Format::kInfinity) result = magnitude << 13 | 0x7f800000;
    return std::bit_cast<float>(sign | result);
  }
}

// 2^e, for -1022 <= e <= 1023.
inline double power_of_two(int e) {
  return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52);
}

// The nearest number of the format, subnormals included.
template <class Format>
inline uint16_t narrow(double x, Round round = Round::kNearest) {
  if (x != x) return kHalfNan;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const bool negative = bits >> 63;
  const double magnitude = std::fabs(x);
  const uint16_t sign = negative ? 0x8000 : 0;
  if (std::isinf(magnitude)) return sign | Format::kInfinity;
  // Round to a whole number of the unit in the last place, then put that number in.
  const int exponent = static_cast<int>(bits >> 52 & 0x7ff) - 1023;
  const int steps = exponent < Format::kLowestExponent ? 0 : exponent - Format::kLowestExponent;
  const double scaled = magnitude * power_of_two(Format::kMantissaBits - Format::kLowestExponent - steps);
  double whole = std::floor(scaled);
  const double rest = scaled - whole;
  bool up = false;
  switch (round) {
    case Round::kNearest:
      up = rest > 0.5 || (rest == 0.5 && std::fmod(whole, 2) != 0);
      break;
    case Round::kZero:
      break;
    case Round::kDown:
      up = negative && rest > 0;
      break;
    case Round::kUp:
      up = !negative && rest > 0;
      break;
  }
  whole += up;
  const uint64_t result =
      (static_cast<uint64_t>(steps) << Format::kMantissaBits) + static_cast<uint64_t>(whole);
  if (result < Format::kInfinity) return static_cast<uint16_t>(sign | result);
  const bool to_infinity =
      round == Round::kNearest || (round == Round::kUp && !negative) || (round == Round::kDown && negative);
  return sign | (to_infinity ? Format::kInfinity : Format::kInfinity - 1);
}

// a + b in double, but with the last bit set if the sum is not exact: rounding that once more to a narrower
// format gives the same as rounding the exact sum.
inline double add_to_odd(double a, double b) {
  const double sum = a + b;
  if (!std::isfinite(sum)) return sum;
  const double b_part = sum - a;
  const double error = (a - (sum - b_part)) + (b - b_part);
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (error == 0 || bits & 1) return sum;
  const bool away_from_zero = (error > 0) == (sum > 0);
  return std::bit_cast<double>(away_from_zero ? bits + 1 : bits - 1);
}

}  // namespace trireme::vgpu
