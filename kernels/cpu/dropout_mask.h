// Draws dropout masks.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"
#include "kernels/dropout.h"

TRIREME_BEGIN_ISA

// Draws the factors of runs of elements: 0 where dropped, 1 / (1 - probability) elsewhere.
class DropoutMask {
 public:
  explicit DropoutMask(const Dropout& dropout)
      : key_low_(static_cast<std::uint32_t>(dropout.key)),
        key_high_(static_cast<std::uint32_t>(dropout.key >> 32)),
        offset_(dropout.offset),
        // uniform(bits) < probability, in integers: exact, for both sides are multiples of 2^-24 once the
        // right one is rounded up.
        threshold_(round_up(static_cast<double>(dropout.probability) * 0x1.0p24)),
        kept_(1.0F / (1.0F - dropout.probability)) {}

  // factors[i] is that of element first + i, for i < count.
  void draw(float* factors, std::int64_t first, std::int64_t count) const {
    std::uint64_t index = offset_ + static_cast<std::uint64_t>(first);
    while (count > 0) {
      alignas(64) float block[kBlock];
      draw_block(block, index / 4);
      const std::int64_t skipped = static_cast<std::int64_t>(index % 4);
      const std::int64_t taken = count < kBlock - skipped ? count : kBlock - skipped;
      std::memcpy(factors, block + skipped, static_cast<std::size_t>(taken) * sizeof(float));
      factors += taken;
      index += static_cast<std::uint64_t>(taken);
      count -= taken;
    }
  }

 private:
  static constexpr int kCounters = 16;
  static constexpr int kBlock = 4 * kCounters;

  static std::uint32_t round_up(double x) {
    const auto whole = static_cast<std::uint32_t>(x);
    return whole < x ? whole + 1 : whole;
  }

  // The factors that philox(key, counter), philox(key, counter + 1), ... decide; the generator is rng.h's,
  // its rounds in step over all counters.
  void draw_block(float* block, std::uint64_t counter) const {
    std::uint32_t x0[kCounters], x1[kCounters], x2[kCounters], x3[kCounters];
    for (int i = 0; i < kCounters; ++i) {
      const std::uint64_t c = counter + static_cast<std::uint64_t>(i);
      x0[i] = static_cast<std::uint32_t>(c);
      x1[i] = static_cast<std::uint32_t>(c >> 32);
      x2[i] = x3[i] = 0;
    }
    std::uint32_t k0 = key_low_;
    std::uint32_t k1 = key_high_;
    for (int round = 0; round < 10; ++round) {
#pragma omp simd
      for (int i = 0; i < kCounters; ++i) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * x0[i];
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * x2[i];
        x0[i] = static_cast<std::uint32_t>(p1 >> 32) ^ x1[i] ^ k0;
        x1[i] = static_cast<std::uint32_t>(p1);
        x2[i] = static_cast<std::uint32_t>(p0 >> 32) ^ x3[i] ^ k1;
        x3[i] = static_cast<std::uint32_t>(p0);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < kCounters; ++i) {
      block[4 * i] = factor(x0[i]);
      block[4 * i + 1] = factor(x1[i]);
      block[4 * i + 2] = factor(x2[i]);
      block[4 * i + 3] = factor(x3[i]);
    }
  }

  TRIREME_INLINE float factor(std::uint32_t bits) const {
    return (bits >> 8) < threshold_ ? 0.0F : kept_;
  }

  std::uint32_t key_low_;
  std::uint32_t key_high_;
  std::uint64_t offset_;
  std::uint32_t threshold_;
  float kept_;
};

TRIREME_END_ISA
