// What ranks contribute to the collectives under test, so that every rank can recompute what the others have.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/tensor.h"

namespace trireme {

template <typename T>
Tensor tensor(std::vector<T>& values) {
  return {values.data(), kDTypeOf<T>, {static_cast<std::int64_t>(values.size())}};
}

// What `rank` contributes; floating-point sums of it depend on the order of summation.
template <typename T>
std::vector<T> values_of(int rank, std::int64_t size) {
  std::minstd_rand generator(1U + static_cast<unsigned>(rank) * 1000003U +
                             static_cast<unsigned>(size));  // quick
  std::vector<T> values(static_cast<std::size_t>(size));
  for (T& value : values) {
    if constexpr (std::is_same_v<T, std::int32_t>) {
      value = static_cast<std::int32_t>(generator() % 2000001) - 1000000;
    } else {
      value =
          T(std::ldexp(static_cast<float>(generator()) / 2e9F - 0.5F, static_cast<int>(generator() % 24)));
    }
  }
  return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace trireme
