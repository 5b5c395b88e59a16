#include "kernels/cpu/multiply_adds.h"

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/simd.h"
#include "kernels/threads.h"

TRIREME_BEGIN_ISA

double multiply_adds() {
  constexpr int kSums = 12;  // more than latency times units, and few enough to stay in registers
  constexpr std::int64_t kTurns = 20000;
  constexpr std::int64_t kChunksPerThread = 64;
  const std::int64_t chunks = num_threads() * kChunksPerThread;
  parallel_for(chunks, 1, [](std::int64_t begin, std::int64_t) {
    // The compiler can't know these, so it can't do the sums beforehand.
    volatile float opaque_factor = 0.999F;
    volatile float opaque_term = static_cast<float>(begin);
    const Vec factor = Vec{} + opaque_factor;
    const Vec term = Vec{} + opaque_term;
    Vec sums[kSums];
    for (int j = 0; j < kSums; ++j)
      sums[j] = Vec{} + opaque_term;  // read anew: nobody knows that they are equal
    for (std::int64_t i = 0; i < kTurns; ++i) {
#pragma GCC unroll 12
      for (int j = 0; j < kSums; ++j) sums[j] = sums[j] * factor + term;
    }
    Vec total = {};
    for (int j = 0; j < kSums; ++j) total += sums[j];
    volatile float sink = total[0];
    (void)sink;
  });
  return 2.0 * kLanes * kSums * kTurns * static_cast<double>(chunks);
}

TRIREME_END_ISA
