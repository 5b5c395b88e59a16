#include "tests/vgpu/nccl/reduce.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace trireme::vgpu {
namespace {

template <class T>
T load(const uint8_t* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof value, sizeof value);
  return value;
}

template <class T>
void store(uint8_t* data, size_t i, T value) {
  std::memcpy(data + i * sizeof value, &value, sizeof value);
}

float widened(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class Load, class Store>
void reduce_by(const std::vector<const uint8_t*>& terms, size_t count, bool is_sum, Load get, Store put) {
  for (size_t i = 0; i < count; ++i) {
    auto result = get(terms[0], i);
    for (size_t r = 1; r < terms.size(); ++r) {
      const auto term = get(terms[r], i);
      if (is_sum)
        result += term;
      else if (result != result || term > result)
        result = term;
    }
    put(i, result);
  }
}

}  // namespace

size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
    case ncclInt32:
      return 4;
    case ncclBfloat16:
      return 2;
    default:
      return 0;
  }
}

const char* name_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
      return "float32";
    case ncclInt32:
      return "int32";
    case ncclBfloat16:
      return "bfloat16";
    default:
      return "?";
  }
}

void reduce(uint8_t* out, const std::vector<const uint8_t*>& terms, size_t count, ncclDataType_t type,
            ncclRedOp_t op) {
  const bool is_sum = op == ncclSum;
  if (type == ncclFloat32)
    reduce_by(terms, count, is_sum, load<float>, [&](size_t i, float x) { store(out, i, x); });
  if (type == ncclInt32)  // unsigned: a sum may wrap
    is_sum ? reduce_by(terms, count, true, load<uint32_t>, [&](size_t i, uint32_t x) { store(out, i, x); })
           : reduce_by(terms, count, false, load<int32_t>, [&](size_t i, int32_t x) { store(out, i, x); });
  if (type == ncclBfloat16)
    reduce_by(
        terms, count, is_sum, [](const uint8_t* data, size_t i) { return widened(load<uint16_t>(data, i)); },
        [&](size_t i, float x) { store(out, i, rounded(x)); });
}

}  // namespace trireme::vgpu
