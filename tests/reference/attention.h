// Scaled dot-product attention, with every score stored.
#pragma once

#include "kernels/attention.h"
#include "tests/reference/array.h"

namespace trireme::reference {

struct AttentionSizes {
  std::int64_t b, t, s, h, k, d;  // the legend's letters: K key/value heads
};

struct Attention {
  Array out;  // [B, T, H, D]
  Array lse;  // [B, H, T]
};
Attention attention(const Array& q, const Array& k, const Array& v, const AttentionSizes& sizes,
                    const AttentionOptions& options);

struct AttentionGradients {
  Array dq, dk, dv;
};
AttentionGradients attention_backward(const Array& dout, const Array& q, const Array& k, const Array& v,
                                      const AttentionSizes& sizes, const AttentionOptions& options);

}  // namespace trireme::reference
