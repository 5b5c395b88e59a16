// What attention's fp32 kernels do with a block's scores, forward and backward.
#pragma once

#include <cmath>

#include "kernels/cuda/attention/base2.cuh"
#include "kernels/cuda/attention/dropout.cuh"
#include "kernels/cuda/attention/fp32_tile.cuh"
#include "kernels/cuda/attention/mask.cuh"

namespace trireme::cuda::fp32 {

// The blocks of keys that a block of queries sees any of, one after the other.
template <int kKeys>
class SeenKeys {
 public:
  __device__ SeenKeys(const Mask& mask, Range queries, int num_keys)
      : mask_(mask), queries_(queries), num_keys_(num_keys) {
    const Range keys = mask.keys_of_documents(queries, mask.keys_of(queries));
    end_ = keys.end;
    find(keys.begin / kKeys * kKeys);
  }

  __device__ explicit operator bool() const { return begin_ < end_; }
  __device__ Range block() const { return {begin_, min(begin_ + kKeys, num_keys_)}; }
  // Whether every query sees kKeys keys.
  __device__ bool is_whole() const { return sight_ == Sight::kAll && begin_ + kKeys <= num_keys_; }
  __device__ void advance() { find(begin_ + kKeys); }

 private:
  __device__ void find(int from) {
    for (begin_ = from; begin_ < end_; begin_ += kKeys) {
      sight_ = mask_.sight(queries_, block());
      if (sight_ != Sight::kNone) return;
    }
  }

  const Mask& mask_;
  Range queries_;
  int num_keys_;
  int begin_ = 0, end_ = 0;
  Sight sight_ = Sight::kNone;
};

// The blocks of queries that see any of a block of keys.
template <int kQueries>
class SeeingQueries {
 public:
  __device__ SeeingQueries(const Mask& mask, Range keys, int num_queries)
      : mask_(mask), keys_(keys), num_queries_(num_queries) {
    const Range queries = mask.queries_of_documents(keys, mask.queries_of(keys));
    end_ = queries.end;
    find(queries.begin / kQueries * kQueries);
  }

  __device__ explicit operator bool() const { return begin_ < end_; }
  __device__ Range block() const { return {begin_, min(begin_ + kQueries, num_queries_)}; }
  // Whether every query sees every key.
  __device__ bool is_whole() const { return sight_ == Sight::kAll; }
  __device__ void advance() { find(begin_ + kQueries); }

 private:
  __device__ void find(int from) {
    for (begin_ = from; begin_ < end_; begin_ += kQueries) {
      sight_ = mask_.sight(block(), keys_);
      if (sight_ != Sight::kNone) return;
    }
  }

  const Mask& mask_;
  Range keys_;
  int num_queries_;
  int begin_ = 0, end_ = 0;
  Sight sight_ = Sight::kNone;
};

// From products of queries and keys to scores in units of log 2, -infinity for keys that a query doesn't see.
// If `is_whole`, all see all.
template <int kI, int kJ>
__device__ void weigh(float (&scores)[kI][kJ], const AttentionParameters<float>& p, const Mask& mask,
                      Range queries, Range keys, bool is_whole) {
#pragma unroll
  for (int i = 0; i < kI; ++i) {
#pragma unroll
    for (int j = 0; j < kJ; ++j) scores[i][j] *= p.scale;
  }
  if (mask.has_bias()) {
#pragma unroll
    for (int i = 0; i < kI; ++i) {
#pragma unroll
      for (int j = 0; j < kJ; ++j)
        scores[i][j] += mask.bias(queries.begin + row_of(i), keys.begin + key_of_column(j));
    }
  }
  if (is_whole) return;
#pragma unroll
  for (int i = 0; i < kI; ++i) {
    const int query = queries.begin + row_of(i);
    const int document = query < queries.end ? mask.document_of_query(query) : 0;
#pragma unroll
    for (int j = 0; j < kJ; ++j) {
      const int key = keys.begin + key_of_column(j);
      if (query >= queries.end || key >= keys.end || !mask.sees(query, document, key))
        scores[i][j] = -INFINITY;
    }
  }
}

// The factors of query i's keys, by the thread's columns.
template <int kJ>
__device__ void find_factors(float (&factors)[kJ], const ProbabilityDropout& dropout, int query, Range keys) {
#pragma unroll
  for (int j = 0; j < kJ; j += 4) {
    const float4 f = dropout.factors(query, (keys.begin + key_of_column(j)) / 4);
    factors[j] = f.x;
    factors[j + 1] = f.y;
    factors[j + 2] = f.z;
    factors[j + 3] = f.w;
  }
}

// Writes what threads hold of a block's probabilities, or of their gradient, to a tile whose columns are keys
// in order.
template <typename T, int kI, int kJ>
__device__ void store(float* tile, const float (&x)[kI][kJ]) {
#pragma unroll
  for (int i = 0; i < kI; ++i) {
#pragma unroll
    for (int j = 0; j < kJ; j += 4)
      store4(tile + row_of(i) * T::kStride + key_of_column(j),
             make_float4(x[i][j], x[i][j + 1], x[i][j + 2], x[i][j + 3]));
  }
}

}  // namespace trireme::cuda::fp32
