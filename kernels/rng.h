// Counter-based random numbers: the n-th number of a key is a pure function, so any layout of ranks, threads
// and devices draws the same ones.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace trireme {

// Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC11): 128
// random bits for each (key, counter).
constexpr std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_low,
                                              std::uint64_t counter_high = 0) {
  std::array<std::uint32_t, 4> x = {
      static_cast<std::uint32_t>(counter_low), static_cast<std::uint32_t>(counter_low >> 32),
      static_cast<std::uint32_t>(counter_high), static_cast<std::uint32_t>(counter_high >> 32)};
  std::uint32_t k0 = static_cast<std::uint32_t>(key);
  std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * x[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * x[2];
    x = {static_cast<std::uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

// Uniform in [0, 1), with the 24 bits that a float holds.
constexpr float uniform(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1.0p-24f;
}

// A key for a name, under a seed (FNV-1a, then mixed): parameter initialisation is keyed by parameter name.
constexpr std::uint64_t key_of(std::uint64_t seed, std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  const auto mixed = philox(seed, hash);
  return std::uint64_t{mixed[0]} << 32 | mixed[1];
}

// Four numbers of a key from the normal distribution with mean 0 and standard deviation 1 (Box & Muller
// 1958): those of indices 4 block to 4 block + 3.  Computed in double, so that every machine rounds to the
// same floats.
std::array<float, 4> normals(std::uint64_t key, std::uint64_t block);

}  // namespace trireme
