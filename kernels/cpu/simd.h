// Arithmetic that the vector kernels share: exponentials that loops of `#pragma omp simd` vectorise, and
// vectors by name for the kernels that count registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/isa.h"

#define TRIREME_INLINE inline __attribute__((always_inline))

TRIREME_BEGIN_ISA

// A vector of the level's width.
#if TRIREME_ISA_LEVEL == 4
inline constexpr int kLanes = 16;
#elif TRIREME_ISA_LEVEL == 3
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::uint32_t BitsVec __attribute__((vector_size(kLanes * sizeof(float))));
// The same in memory, at any address of a float.
typedef float UnalignedVec __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

TRIREME_INLINE Vec load(const float* p) {
  return *reinterpret_cast<const UnalignedVec*>(p);
}
TRIREME_INLINE void store(float* p, Vec x) {
  *reinterpret_cast<UnalignedVec*>(p) = x;
}
TRIREME_INLINE Vec max(Vec a, Vec b) {
  return a > b ? a : b;
}

inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kLn2 = 0.693147181F;

// e^x to 1.5 units in the last place; 0 and Inf beyond the range of floats, NaN for NaN.
TRIREME_INLINE float exp(float x) {
  constexpr float kRoundToInteger = 12582912.0F;  // 1.5 * 2^23: the sum's last bits are the integer
  // ln 2 in two parts, of which the first times a small integer is exact.
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  // Written so that NaN stays.
  float bounded = x < -104.0F ? -104.0F : x;
  bounded = bounded > 89.0F ? 89.0F : bounded;
  const float shifted = bounded * 1.44269504F + kRoundToInteger;
  const float n = shifted - kRoundToInteger;
  const float r = (bounded - n * kLn2High) - n * kLn2Low;
  // Minimax for relative error, 3e-9, over |r| <= ln(2) / 2.
  float p = 1.3813137e-3F;
  p = p * r + 8.3694196e-3F;
  p = p * r + 4.1668457e-2F;
  p = p * r + 1.66665148e-1F;
  p = p * r + 4.9999993e-1F;
  p = p * r * r + r + 1.0F;
  // 2^n in two factors, so that results near either end of the range are right.
  const std::int32_t exponent =
      static_cast<std::int32_t>(__builtin_bit_cast(std::uint32_t, shifted) - 0x4B400000U);
  const std::int32_t half = exponent >> 1;
  const float first = __builtin_bit_cast(float, (half + 127) << 23);
  const float second = __builtin_bit_cast(float, (exponent - half + 127) << 23);
  return p * first * second;
}

// 2^x for x <= 0 to 2 units in the last place; 0 below -126, NaN for NaN.
TRIREME_INLINE Vec exp2_nonpositive(Vec x) {
  constexpr float kRoundToInteger = 12582912.0F;
  const Vec shifted = x + kRoundToInteger;
  const Vec r = x - (shifted - kRoundToInteger);
  // Minimax for relative error, 2e-9, over |r| <= 1/2.
  Vec p = r * 1.5352312e-4F + 1.34001719e-3F;
  p = p * r + 9.61845e-3F;
  p = p * r + 5.55032935e-2F;
  p = p * r + 2.40226477e-1F;
  p = p * r + 6.93147204e-1F;
  p = p * r + 1.0F;
  const BitsVec scaled = reinterpret_cast<BitsVec>(p) + (reinterpret_cast<BitsVec>(shifted) << 23);
  return x < -126.0F ? Vec{} : reinterpret_cast<Vec>(scaled);
}

TRIREME_INLINE float sigmoid(float x) {
  return 1.0F / (1.0F + exp(-x));
}

TRIREME_END_ISA
