// Dropout, whose mask is never stored: both passes draw it again.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// Element i of a tensor (row-major) is dropped when the (offset + i)-th number of `key` falls below
// `probability`; the others are scaled by 1 / (1 - probability).  `key` stands for (seed, step, layer, site)
// and `offset` for the position of this rank's first element in the global batch, so the mask does not depend
// on the layout. REQUIRES: offset is a multiple of 4; probability in [0, 1).
struct Dropout {
  float probability = 0.0F;
  std::uint64_t key = 0;
  std::uint64_t offset = 0;

  explicit operator bool() const { return probability > 0.0F; }
  // The mask in integers: a number's upper 24 bits are below this if and only if `uniform` of it (rng.h) is
  // below `probability`.  Both are multiples of 2^-24 once the latter is rounded up.
  std::uint32_t threshold() const {
    const double exact = static_cast<double>(probability) * 0x1.0p24;
    const auto whole = static_cast<std::uint32_t>(exact);
    return whole < exact ? whole + 1 : whole;
  }
  // What elements that are kept are multiplied by.
  float scale() const { return 1.0F / (1.0F - probability); }
};

// y = dropout(x), and its gradient, which is the same function of dy.  y may be x.  Contiguous float32, on a
// CUDA device also bfloat16.
void dropout(Tensor y, Tensor x, Dropout dropout, Stream stream);

}  // namespace trireme
