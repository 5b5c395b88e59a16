// Element types of tensors.
#pragma once

#include <cstdint>

namespace trireme {

enum class DType : std::uint8_t {
  kFloat32,
  kInt32,  // token ids
};

constexpr std::int64_t size_bytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
  }
  return 0;
}

constexpr const char* name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kInt32:
      return "int32";
  }
  return "?";
}

// The DType that stores a C++ type; defined for the types that a tensor can hold.
template <typename T>
inline constexpr DType kDTypeOf = [] { static_assert(sizeof(T) == 0, "no tensor holds this type"); }();
template <>
inline constexpr DType kDTypeOf<float> = DType::kFloat32;
template <>
inline constexpr DType kDTypeOf<std::int32_t> = DType::kInt32;

}  // namespace trireme
