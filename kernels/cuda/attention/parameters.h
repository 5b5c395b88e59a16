// What the attention kernels are given.
#pragma once

#include <cstdint>

namespace trireme::cuda {

// One head of a [B, T, H, D] operand: where row t of head h of sequence b lies, in elements.
template <typename T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t batch_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;

#ifdef __CUDACC__
  // Row 0 of the head.
  __device__ T* head(int b, int h) const {
    return data + b * batch_stride + h * head_stride;
  }
#endif
};

// As attention.h has it.  Passed to kernels by value.
template <typename T>
struct AttentionParameters {
  HeadRows<const T> q, k, v;
  HeadRows<T> out;
  float* lse = nullptr;  // [B, H, T]; forward may go without

  // Of backward.  Forward leaves them empty.
  HeadRows<const T> dout;
  HeadRows<T> dq, dk, dv;

  int num_sequences = 0;  // B
  int num_queries = 0;    // T
  int num_keys = 0;       // S
  int num_heads = 0;      // H
  int num_kv_heads = 0;   // K
  int width = 0;          // D, at most the kernel's
  // Whether rows of every operand begin at multiples of 16 bytes and D fills whole ones, so that they can be
  // copied 16 bytes at a time.
  bool is_aligned = false;

  float scale = 1.0F;  // of scores, times log2(e): exponentials are powers of two
  bool is_causal = false;
  int window = 0;                        // 0: no limit
  const float* alibi_slopes = nullptr;   // [H], or null
  const int* query_documents = nullptr;  // [B, T], or null
  const int* key_documents = nullptr;    // [B, S], or null

  // A probability is dropped where the upper 24 bits of its random number are below the threshold; see
  // kernels/dropout.h for which number is whose.
  unsigned dropout_threshold = 0;
  float dropout_scale = 1.0F;  // of those that are kept
  std::uint64_t dropout_key = 0;
  // In groups of four numbers, as they are drawn: the first of the first sequence's first head, those of a
  // head, and those of a sequence that are for other ranks' heads.
  std::uint64_t dropout_first = 0;
  std::uint64_t dropout_groups_of_head = 0;
  std::uint64_t dropout_groups_of_others = 0;

  bool is_deterministic = false;
};

}  // namespace trireme::cuda
