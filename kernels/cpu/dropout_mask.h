// Draws dropout masks.
#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
        threshold_(dropout.threshold()),
        kept_(dropout.scale()) {}

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
  typedef std::uint64_t Wide __attribute__((vector_size(kLanes * sizeof(float))));
  typedef std::uint32_t Narrow __attribute__((vector_size(kLanes * sizeof(float))));
  static constexpr int kCounters = kLanes / 2;  // of a block
  static constexpr int kBlock = 4 * kCounters;

  // The products of each lane's lower half.
  TRIREME_INLINE static Wide multiply_lower(Wide a, std::uint32_t b) {
#if TRIREME_ISA_LEVEL == 4
    // Masked by nothing: gcc 12 warns of an uninitialised value inside of the plain form.
    return (Wide)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, _mm512_set1_epi64(b));
#elif TRIREME_ISA_LEVEL == 3
    return (Wide)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__x86_64__)
    return (Wide)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#else
    return (a & 0xFFFFFFFFu) * std::uint64_t{b};
#endif
  }

  // The factors that philox(key, counter), philox(key, counter + 1), ... decide.  The generator is rng.h's,
  // with a counter in each lane; words are the lanes' lower halves, the upper hold what multiplication left
  // there.
  void draw_block(float* block, std::uint64_t counter) const {
    Wide x0, x1;
    for (int i = 0; i < kCounters; ++i) {
      x0[i] = counter + static_cast<std::uint64_t>(i);
      x1[i] = x0[i] >> 32;
    }
    Wide x2{}, x3{};
    std::uint32_t k0 = key_low_;
    std::uint32_t k1 = key_high_;
    for (int round = 0; round < 10; ++round) {
      const Wide p0 = multiply_lower(x0, 0xD2511F53u);
      const Wide p1 = multiply_lower(x2, 0xCD9E8D57u);
      x0 = (p1 >> 32) ^ x1 ^ k0;
      x1 = p1;
      x2 = (p0 >> 32) ^ x3 ^ k1;
      x3 = p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    // Words in order: those of a counter are two lanes, of which vectors take those of half of the counters.
    const Wide first = (x0 & 0xFFFFFFFFu) | (x1 << 32);
    const Wide second = (x2 & 0xFFFFFFFFu) | (x3 << 32);
    for (int half = 0; half < 2; ++half) {
      Wide order;
      for (int i = 0; i < kCounters; ++i) {
        order[i] = static_cast<std::uint64_t>(half * kCounters / 2 + i / 2 + i % 2 * kCounters);
      }
      const Narrow bits = (Narrow)__builtin_shuffle(first, second, order);
      store(block + half * kLanes, (bits >> 8) < threshold_ ? Vec{} : Vec{} + kept_);
    }
  }

  std::uint32_t key_low_;
  std::uint32_t key_high_;
  std::uint64_t offset_;
  std::uint32_t threshold_;
  float kept_;
};

TRIREME_END_ISA
