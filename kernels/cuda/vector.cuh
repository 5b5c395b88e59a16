// Numbers in memory, float or bf16, several at a time; arithmetic on them is in float.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace trireme::cuda {

// How many numbers fill the widest access of a thread, 16 bytes.
template <typename T>
inline constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(T));

// kWidth numbers as they lie in memory: a multiple of 16 bytes, a single one, or the four of bf16 that go
// with a vector of floats.
template <typename T, int kWidth>
struct Pack {
  static constexpr int kBytes = kWidth * static_cast<int>(sizeof(T));
  static_assert(kBytes % 16 == 0 || kWidth == 1);

  uint4 vectors[kBytes / 16];
};
template <>
struct Pack<float, 1> {
  float number;
};
template <>
struct Pack<Bfloat16, 1> {
  unsigned short bits;
};
template <>
struct Pack<Bfloat16, 4> {
  uint2 vector;
};

// REQUIRES: `from` is a multiple of 16 bytes, or of the pack's where that has fewer.
template <int kWidth, typename T>
__device__ inline Pack<T, kWidth> load(const T* from) {
  Pack<T, kWidth> pack;
  if constexpr (sizeof pack < 16) {
    pack = *reinterpret_cast<const Pack<T, kWidth>*>(from);
  } else {
#pragma unroll
    for (int i = 0; i < Pack<T, kWidth>::kBytes / 16; ++i)
      pack.vectors[i] = reinterpret_cast<const uint4*>(from)[i];
  }
  return pack;
}

template <typename T, int kWidth>
__device__ inline void store(T* to, const Pack<T, kWidth>& pack) {
  if constexpr (sizeof pack < 16) {
    *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
  } else {
#pragma unroll
    for (int i = 0; i < Pack<T, kWidth>::kBytes / 16; ++i) reinterpret_cast<uint4*>(to)[i] = pack.vectors[i];
  }
}

// kWidth floats.
template <int kWidth>
struct Floats {
  float x[kWidth];

  __device__ float& operator[](int i) { return x[i]; }
  __device__ float operator[](int i) const { return x[i]; }
};

__device__ inline Floats<1> floats(const Pack<float, 1>& pack) {
  return {{pack.number}};
}
__device__ inline Floats<1> floats(const Pack<Bfloat16, 1>& pack) {
  return {{__uint_as_float(static_cast<unsigned>(pack.bits) << 16)}};
}
template <int kWidth>
__device__ inline Floats<kWidth> floats(const Pack<float, kWidth>& pack) {
  Floats<kWidth> result;
#pragma unroll
  for (int i = 0; i < kWidth / 4; ++i) {
    result[4 * i] = __uint_as_float(pack.vectors[i].x);
    result[4 * i + 1] = __uint_as_float(pack.vectors[i].y);
    result[4 * i + 2] = __uint_as_float(pack.vectors[i].z);
    result[4 * i + 3] = __uint_as_float(pack.vectors[i].w);
  }
  return result;
}
__device__ inline Floats<4> floats(const Pack<Bfloat16, 4>& pack) {
  return {{__uint_as_float(pack.vector.x << 16), __uint_as_float(pack.vector.x & 0xFFFF0000U),
           __uint_as_float(pack.vector.y << 16), __uint_as_float(pack.vector.y & 0xFFFF0000U)}};
}
template <int kWidth>
__device__ inline Floats<kWidth> floats(const Pack<Bfloat16, kWidth>& pack) {
  Floats<kWidth> result;
#pragma unroll
  for (int i = 0; i < kWidth / 8; ++i) {
    const unsigned words[4] = {pack.vectors[i].x, pack.vectors[i].y, pack.vectors[i].z, pack.vectors[i].w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      result[8 * i + 2 * j] = __uint_as_float(words[j] << 16);
      result[8 * i + 2 * j + 1] = __uint_as_float(words[j] & 0xFFFF0000U);
    }
  }
  return result;
}

// kWidth numbers that lie side by side, as floats.
template <int kWidth, typename T>
__device__ inline Floats<kWidth> load_floats(const T* from) {
  return floats(load<kWidth>(from));
}

// Two floats rounded to bf16 (to nearest, ties to even), the first in the lower half.
__device__ inline unsigned bf16_pair(float low, float high) {
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// The floats, rounded to T where that is narrower.
template <typename T, int kWidth>
__device__ inline Pack<T, kWidth> pack(const Floats<kWidth>& x) {
  Pack<T, kWidth> result;
  if constexpr (kWidth == 1 && sizeof(T) == 4) {
    result.number = x[0];
  } else if constexpr (kWidth == 1) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x[0]));
  } else if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < kWidth / 4; ++i) {
      result.vectors[i] = make_uint4(__float_as_uint(x[4 * i]), __float_as_uint(x[4 * i + 1]),
                                     __float_as_uint(x[4 * i + 2]), __float_as_uint(x[4 * i + 3]));
    }
  } else if constexpr (kWidth == 4) {
    result.vector = make_uint2(bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]));
  } else {
#pragma unroll
    for (int i = 0; i < kWidth / 8; ++i) {
      result.vectors[i] =
          make_uint4(bf16_pair(x[8 * i], x[8 * i + 1]), bf16_pair(x[8 * i + 2], x[8 * i + 3]),
                     bf16_pair(x[8 * i + 4], x[8 * i + 5]), bf16_pair(x[8 * i + 6], x[8 * i + 7]));
    }
  }
  return result;
}

// Whether all of these addresses (null is one, too) are multiples of 16 bytes.
template <typename... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

// Calls run.operator()<T, kWidth>() with the C++ type and the width of accesses that are to be instantiated:
// 16 bytes, or one number where operands aren't aligned to that.
template <typename Run>
void with_type_and_width(DType dtype, bool is_aligned, Run run) {
  if (dtype == DType::kBfloat16) {
    is_aligned ? run.template operator()<Bfloat16, kVectorWidth<Bfloat16>>()
               : run.template operator()<Bfloat16, 1>();
  } else {
    is_aligned ? run.template operator()<float, kVectorWidth<float>>() : run.template operator()<float, 1>();
  }
}

}  // namespace trireme::cuda
