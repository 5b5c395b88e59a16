// Scaled dot-product attention, with every score stored.
#pragma once

#include "kernels/attention.h"
#include "tests/reference/array.h"

namespace trireme::reference {

struct AttentionSizes {
  std::int64_t b, t, s, h, k, d;  // the legend's letters: K key/value heads
};

// The options, and on the host what their tensors hold.
struct AttentionMasks {
  AttentionOptions options;
  Array alibi_slopes;                     // [H], or empty
  Tokens query_documents, key_documents;  // [B, T] and [B, S], or empty

  AttentionMasks(const AttentionOptions& only_options) : options(only_options) {}
};

// The factor of a probability.
double attention_dropout_factor(const AttentionOptions& options, const AttentionSizes& sizes, std::int64_t b,
                                std::int64_t h, std::int64_t t, std::int64_t s);

struct Attention {
  Array out;  // [B, T, H, D]
  Array lse;  // [B, H, T]
};
Attention attention(const Array& q, const Array& k, const Array& v, const AttentionSizes& sizes,
                    const AttentionMasks& masks);

// [B, H, T, S], before dropout.
Array attention_probabilities(const Array& q, const Array& k, const AttentionSizes& sizes,
                              const AttentionMasks& masks);

struct AttentionGradients {
  Array dq, dk, dv;
};
AttentionGradients attention_backward(const Array& dout, const Array& q, const Array& k, const Array& v,
                                      const AttentionSizes& sizes, const AttentionMasks& masks);

}  // namespace trireme::reference
