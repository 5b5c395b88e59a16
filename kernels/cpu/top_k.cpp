#include "kernels/top_k.h"

#include <algorithm>
#include <functional>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/place.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

// Whether any of [v, v + count) is above the bound.
inline bool any_above(const float* row, std::int64_t count, float bound) {
  int above = 0;
#pragma omp simd reduction(| : above)
  for (std::int64_t v = 0; v < count; ++v) above |= row[v] > bound;
  return above != 0;
}

constexpr std::int64_t kRange = 64;             // of logits that are looked at together
constexpr std::int64_t kLogitsOfChunk = 16384;  // of rows that a thread takes at once

constexpr std::int64_t rows_of_chunk(std::int64_t width) {
  return std::max<std::int64_t>(1, kLogitsOfChunk / width);
}

constexpr std::int64_t room_for(std::int64_t k) {
  return 2 * k + 4 * kRange;
}

// Leaves the k likeliest in front, the last of them behind the others.
inline void keep(std::uint64_t* places, std::int64_t k, std::int64_t count) {
  if (count > k) std::nth_element(places, places + k - 1, places + count, std::greater<>());
}

// The k likeliest, in any order.  Collects, in room for more than k, what is likelier than the k-th so far.
inline void find_likeliest(std::uint64_t* places, std::int64_t k, const float* row, std::int64_t width) {
  std::int64_t count = 0;
  bool is_bounded = false;
  float bound = 0.0F;
  for (std::int64_t begin = 0; begin < width; begin += kRange) {
    const std::int64_t end = std::min(begin + kRange, width);
    if (is_bounded && !any_above(row + begin, end - begin, bound)) continue;
    for (std::int64_t v = begin; v < end; ++v) {
      places[count] = place_of(row[v], v);
      count += static_cast<std::int64_t>(!is_bounded || row[v] > bound);
    }
    if (count + kRange <= room_for(k)) continue;
    keep(places, k, count);
    count = k;
    is_bounded = true;
    bound = row[token_at(places[k - 1])];
    if (bound != bound) bound = -__builtin_inff();
  }
  keep(places, k, count);
}

void top_k(Tensor values_NK, Tensor tokens_NK, Tensor logits_NV, Stream) {
  const std::int64_t k = values_NK.dim(1);
  const std::int64_t width = logits_NV.dim(1);
  const std::int64_t stride = logits_NV.stride(0);
  const float* const logits = logits_NV.data<float>();
  float* const values = values_NK.data<float>();
  std::int32_t* const all_tokens = tokens_NK.data<std::int32_t>();
  parallel_for(logits_NV.dim(0), rows_of_chunk(width), [=](std::int64_t begin, std::int64_t end) {
    auto* const places = reinterpret_cast<std::uint64_t*>(scratch_of_thread(2 * room_for(k)));
    for (std::int64_t n = begin; n < end; ++n) {
      std::int32_t* const tokens = all_tokens + n * k;
      find_likeliest(places, k, logits + n * stride, width);
      for (std::int64_t i = 0; i < k; ++i) tokens[i] = token_at(places[i]);
      std::sort(tokens, tokens + k);
      for (std::int64_t i = 0; i < k; ++i) values[n * k + i] = logits[n * stride + tokens[i]];
    }
  });
}

inline bool is_likeliest(std::int64_t target, const float* row, std::int64_t width) {
  if (target < 0 || target >= width || row[target] != row[target]) return false;
  int above = 0;
#pragma omp simd reduction(| : above)
  for (std::int64_t v = 0; v < target; ++v) above |= row[v] >= row[target];
  return above == 0 && !any_above(row + target, width - target, row[target]);
}

void count_hits(Tensor hits_1, Tensor logits_NV, Tensor targets_N, Stream) {
  const float* const logits = logits_NV.data<float>();
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  std::int32_t* const hits = hits_1.data<std::int32_t>();
  const std::int64_t stride = logits_NV.stride(0);
  const std::int64_t width = logits_NV.dim(1);
  parallel_for(logits_NV.dim(0), rows_of_chunk(width), [=](std::int64_t begin, std::int64_t end) {
    std::int32_t count = 0;
    for (std::int64_t n = begin; n < end; ++n) count += is_likeliest(targets[n], logits + n * stride, width);
    __atomic_fetch_add(hits, count, __ATOMIC_RELAXED);
  });
}

TRIREME_END_ISA
