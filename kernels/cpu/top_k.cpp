#include "kernels/top_k.h"

#include <algorithm>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

struct Logit {
  float value;
  std::int32_t token;
};

inline float number(float x) {
  return x == x ? x : -__builtin_inff();
}

// Whether any of [v, v + count) is above the bound.
inline bool any_above(const float* row, std::int64_t count, float bound) {
  int above = 0;
#pragma omp simd reduction(| : above)
  for (std::int64_t v = 0; v < count; ++v) above |= row[v] > bound;
  return above != 0;
}

// The k likeliest, in any order.
inline void find_likeliest(Logit* best, std::int64_t k, const float* row, std::int64_t width) {
  const auto likelier = [](const Logit& a, const Logit& b) {
    return a.value != b.value ? a.value > b.value : a.token < b.token;
  };
  for (std::int64_t v = 0; v < k; ++v) best[v] = {number(row[v]), static_cast<std::int32_t>(v)};
  std::make_heap(best, best + k, likelier);  // the least likely first
  constexpr std::int64_t kRange = 128;
  for (std::int64_t begin = k; begin < width; begin += kRange) {
    const std::int64_t end = std::min(begin + kRange, width);
    if (!any_above(row + begin, end - begin, best->value)) continue;
    for (std::int64_t v = begin; v < end; ++v) {
      if (!(row[v] > best->value)) continue;
      std::pop_heap(best, best + k, likelier);
      best[k - 1] = {row[v], static_cast<std::int32_t>(v)};
      std::push_heap(best, best + k, likelier);
    }
  }
}

void top_k(Tensor values_NK, Tensor tokens_NK, Tensor logits_NV, Stream) {
  const std::int64_t k = values_NK.dim(1);
  const std::int64_t width = logits_NV.dim(1);
  const std::int64_t stride = logits_NV.stride(0);
  const float* const logits = logits_NV.data<float>();
  float* const values = values_NK.data<float>();
  std::int32_t* const tokens = tokens_NK.data<std::int32_t>();
  parallel_for(logits_NV.dim(0), 1, [=](std::int64_t n, std::int64_t) {
    auto* const best = reinterpret_cast<Logit*>(scratch_of_thread(2 * k));
    find_likeliest(best, k, logits + n * stride, width);
    std::sort(best, best + k, [](const Logit& a, const Logit& b) { return a.token < b.token; });
    for (std::int64_t i = 0; i < k; ++i) {
      tokens[n * k + i] = best[i].token;
      values[n * k + i] = logits[n * stride + best[i].token];
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
  parallel_for(logits_NV.dim(0), 1, [=](std::int64_t n, std::int64_t) {
    if (is_likeliest(targets[n], logits + n * stride, width)) __atomic_fetch_add(hits, 1, __ATOMIC_RELAXED);
  });
}

TRIREME_END_ISA
