// Numbers that look random and are pure functions of their keys.
#pragma once

#include <cstdint>

namespace trireme {

// A bijection of 64 bits in which every bit of `x` moves about half of the result (the finaliser of
// SplitMix64, Steele, Lea, Flood 2014).
constexpr std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// The number at a place under a key.
constexpr std::uint64_t random_at(std::uint64_t key, std::uint64_t place) {
  return mixed(mixed(key) ^ mixed(~place));
}

// The same, as a number of [0, 1).
constexpr double uniform_at(std::uint64_t key, std::uint64_t place) {
  return static_cast<double>(random_at(key, place) >> 11) * 0x1.0p-53;
}

}  // namespace trireme
