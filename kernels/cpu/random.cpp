#include "kernels/random.h"

#include <array>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/rng.h"

TRIREME_BEGIN_ISA

void fill_normal(Tensor x, float stddev, std::uint64_t key, std::int64_t first_index, Stream) {
  float* const p = x.data<float>();
  constexpr std::int64_t kChunk = 1 << 14;
  parallel_for(x.num_elements(), kChunk, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t index = first_index + i;
      const std::array<float, 4> drawn = normals(key, static_cast<std::uint64_t>(index / 4));
      for (std::int64_t j = index % 4; j < 4 && i < end; ++j, ++i) {
        p[i] = stddev * drawn[static_cast<std::size_t>(j)];
      }
    }
  });
}

TRIREME_END_ISA
