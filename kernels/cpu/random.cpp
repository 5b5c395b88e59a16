#include "kernels/random.h"

#include <array>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/rng.h"

TRIREME_BEGIN_ISA

void fill_normal(Tensor x, float stddev, std::uint64_t key, Stream) {
  float* const p = x.data<float>();
  constexpr std::int64_t kChunk = 1 << 14;  // a multiple of 4
  parallel_for(x.num_elements(), kChunk, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += 4) {
      const std::array<float, 4> drawn = normals(key, static_cast<std::uint64_t>(i / 4));
      for (std::int64_t j = 0; j < 4 && i + j < end; ++j) {
        p[i + j] = stddev * drawn[static_cast<std::size_t>(j)];
      }
    }
  });
}

TRIREME_END_ISA
