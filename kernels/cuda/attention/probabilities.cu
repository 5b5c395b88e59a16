// A warp for each query: plain, as it is no part of a training step.
#include "kernels/attention_probabilities.h"
#include "kernels/cuda/attention/mask.cuh"
#include "kernels/cuda/attention/operands.h"
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kWarps = 4;       // of a block
constexpr int kLanesOfKey = 8;  // that multiply a key with the query
constexpr int kKeysAtOnce = kWarpSize / kLanesOfKey;
constexpr int kMaxWidth = 128;  // D
constexpr unsigned kAll = 0xFFFFFFFFU;

// The warp's query: the i-th of [B, H, T].
template <typename T, int kWidth>
class Query {
 public:
  __device__ Query(const AttentionParameters<T>& p, std::int64_t i)
      : p_(p),
        t_(static_cast<int>(i % p.num_queries)),
        h_(static_cast<int>(i / p.num_queries % p.num_heads)),
        b_(static_cast<int>(i / p.num_queries / p.num_heads)),
        mask_(p, b_, h_),
        keys_(p.k.head(b_, h_ / (p.num_heads / p.num_kv_heads))) {
    const T* const row = p.q.head(b_, h_) + t_ * p.q.row_stride;
#pragma unroll
    for (int i_held = 0; i_held < kHeld; ++i_held) {
      const int d = column(i_held);
      if (d < p.width) held_[i_held] = load_floats<kWidth>(row + d);
    }
  }

  // The keys that it sees: documents don't fall along a row, so there are none between that it doesn't.
  __device__ Range keys() const {
    const Range own = {t_, t_ + 1};
    return mask_.keys_of_documents(own, mask_.keys_of(own));
  }

  // Of this lane, of the 32 keys from `first` on, and the score of that key, in units of log 2: -Inf beyond
  // the end.  REQUIRES: first < end.
  __device__ int key_of_lane(int first) const {
    return first + lane() % kLanesOfKey * kKeysAtOnce + group();
  }
  __device__ float score_of_lane(int first, int end) const {
    float own = 0.0F;
#pragma unroll 1
    for (int j = 0; j < kLanesOfKey && first + j * kKeysAtOnce < end; ++j) {
      const T* const key = keys_ + min(first + j * kKeysAtOnce + group(), end - 1) * p_.k.row_stride;
      float dot = 0.0F;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int d = column(i);
        if (d >= p_.width) continue;
        const Floats<kWidth> k = load_floats<kWidth>(key + d);
#pragma unroll
        for (int w = 0; w < kWidth; ++w) dot = fmaf(held_[i][w], k[w], dot);
      }
#pragma unroll
      for (int distance = kLanesOfKey / 2; distance > 0; distance /= 2)
        dot += __shfl_xor_sync(kAll, dot, distance);
      if (lane() % kLanesOfKey == j) own = dot;
    }
    const int key = key_of_lane(first);
    if (key >= end) return -INFINITY;
    return fmaf(own, p_.scale, mask_.has_bias() ? mask_.bias(t_, key) : 0.0F);
  }

 private:
  static constexpr int kHeld = kMaxWidth / kLanesOfKey / kWidth;

  __device__ static int lane() {
    return static_cast<int>(threadIdx.x) % kWarpSize;
  }
  __device__ static int group() {
    return lane() / kLanesOfKey;
  }
  __device__ static int column(int i) {
    return (i * kLanesOfKey + lane() % kLanesOfKey) * kWidth;
  }

  const AttentionParameters<T>& p_;
  int t_, h_, b_;
  Mask mask_;
  const T* keys_;
  Floats<kWidth> held_[kHeld];
};

// Of scores seen so far, with w = 2^(score - largest).
struct Softmax {
  float largest = -INFINITY;
  float sum = 0.0F;       // of w
  float weighted = 0.0F;  // of w (score - largest)

  __device__ void rise_to(float larger) {
    if (sum > 0.0F) {
      const float less = largest - larger, factor = exp2_fast(less);
      weighted = factor * (weighted + sum * less);
      sum *= factor;
    }
    largest = larger;
  }
  __device__ void add(float score) {
    if (score == -INFINITY) return;
    if (score > largest) rise_to(score);
    const float less = score - largest, weight = exp2_fast(less);
    sum += weight;
    weighted += weight * less;
  }
  // All lanes of the warp get that of all.
  __device__ void combine() {
    float all = largest;
#pragma unroll
    for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
      all = fmaxf(all, __shfl_xor_sync(kAll, all, distance));
    rise_to(all);
    sum = warp_sum(sum);
    weighted = warp_sum(weighted);
  }
};

template <typename T, int kWidth>
__device__ inline Softmax softmax_of(const Query<T, kWidth>& query, Range keys) {
  Softmax softmax;
  for (int first = keys.begin; first < keys.end; first += kWarpSize)
    softmax.add(query.score_of_lane(first, keys.end));
  softmax.combine();
  return softmax;
}

__device__ inline std::int64_t query_of_warp() {
  return std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    write_probabilities(float* all, std::int64_t num_queries, const AttentionParameters<T> p) {
  const std::int64_t i = query_of_warp();
  if (i >= num_queries) return;
  const Query<T, kWidth> query(p, i);
  const Range keys = query.keys();
  const Softmax softmax = softmax_of(query, keys);
  float* const row = all + i * p.num_keys;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int key = lane; key < p.num_keys; key += kWarpSize) {
    if (key < keys.begin || key >= keys.end) row[key] = 0.0F;
  }
  for (int first = keys.begin; first < keys.end; first += kWarpSize) {
    const float score = query.score_of_lane(first, keys.end);
    const int key = query.key_of_lane(first);
    if (key < keys.end) row[key] = exp2_fast(score - softmax.largest) / softmax.sum;
  }
}

// log2 p = score - largest - log2 sum, so that the entropy is log sum - sum of p (score - largest).
template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    measure_entropy(float* entropies, std::int64_t num_queries, const AttentionParameters<T> p) {
  const std::int64_t i = query_of_warp();
  if (i >= num_queries) return;
  const Query<T, kWidth> query(p, i);
  const Range keys = query.keys();
  const Softmax softmax = softmax_of(query, keys);
  const float entropy = kLn2 * (log2f(softmax.sum) - softmax.weighted / softmax.sum);
  if (threadIdx.x % kWarpSize == 0)
    entropies[i] = keys.end - keys.begin <= 1 || entropy < 0.0F ? 0.0F : entropy;
}

Grid grid_of(std::int64_t num_queries) {
  return {divide_up(num_queries, kWarps), kWarps * kWarpSize};
}

}  // namespace

void attention_probabilities(Tensor p_BHTS, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                             Stream stream) {
  const std::int64_t queries = p_BHTS.dim(0) * p_BHTS.dim(1) * p_BHTS.dim(2);
  with_type_and_width(q_BTHD.dtype(), is_aligned(q_BTHD) && is_aligned(k_BSKD),
                      [&]<typename T, int kWidth>() {
                        launch(write_probabilities<T, kWidth>, grid_of(queries), stream, p_BHTS.data<float>(),
                               queries, parameters_of_scores<T>(q_BTHD, k_BSKD, options));
                      });
}

void attention_entropy(Tensor entropy_BHT, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                       Stream stream) {
  const std::int64_t queries = entropy_BHT.num_elements();
  with_type_and_width(
      q_BTHD.dtype(), is_aligned(q_BTHD) && is_aligned(k_BSKD), [&]<typename T, int kWidth>() {
        launch(measure_entropy<T, kWidth>, grid_of(queries), stream, entropy_BHT.data<float>(), queries,
               parameters_of_scores<T>(q_BTHD, k_BSKD, options));
      });
}

}  // namespace trireme::cuda
