// Element types of tensors.
#pragma once

#include <bit>
#include <cstdint>

namespace trireme {

enum class DType : std::uint8_t {
  kFloat32,
  kBfloat16,
  kInt32,  // token ids
};

constexpr std::int64_t size_bytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBfloat16:
      return 2;
  }
  return 0;
}

constexpr const char* name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kBfloat16:
      return "bfloat16";
    case DType::kInt32:
      return "int32";
  }
  return "?";
}

// The upper half of a float32.  Made from one by rounding to nearest, ties to even; a NaN stays a NaN.
struct Bfloat16 {
  std::uint16_t bits = 0;

  Bfloat16() = default;
  constexpr explicit Bfloat16(float x) {
    const std::uint32_t wide = std::bit_cast<std::uint32_t>(x);
    const bool is_nan = (wide & 0x7FFFFFFFu) > 0x7F800000u;
    const std::uint32_t rounded = is_nan ? wide | 0x00400000u : wide + 0x7FFFu + (wide >> 16 & 1u);
    bits = static_cast<std::uint16_t>(rounded >> 16);
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

// The DType that stores a C++ type; defined for the types that a tensor can hold.
template <typename T>
inline constexpr DType kDTypeOf = [] { static_assert(sizeof(T) == 0, "no tensor holds this type"); }();
template <>
inline constexpr DType kDTypeOf<float> = DType::kFloat32;
template <>
inline constexpr DType kDTypeOf<Bfloat16> = DType::kBfloat16;
template <>
inline constexpr DType kDTypeOf<std::int32_t> = DType::kInt32;

}  // namespace trireme
