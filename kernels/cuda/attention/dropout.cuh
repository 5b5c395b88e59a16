// The dropout mask of attention's probabilities.
#pragma once

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/philox.cuh"

namespace trireme::cuda {

// Of one head of one sequence.
class ProbabilityDropout {
 public:
  template <typename T>
  __device__ ProbabilityDropout(const AttentionParameters<T>& p, int b, int h)
      : key_(p.dropout_key),
        first_(p.dropout_first + b * p.dropout_groups_of_others +
               static_cast<unsigned>(b * p.num_heads + h) * p.dropout_groups_of_head),
        groups_per_row_(static_cast<unsigned>(p.num_keys + 3) / 4),
        threshold_(p.dropout_threshold),
        scale_(p.dropout_scale) {}

  // The number of the random bits of a query's keys 0 to 3; the next four keys have the next number.
  __device__ std::uint64_t counter(int query) const {
    return first_ + static_cast<std::uint64_t>(query) * groups_per_row_;
  }

  // Which of a query's keys 4 group to 4 group + 3 are kept: bits 0 to 3.
  __device__ unsigned kept(int query, int group) const {
    const uint4 bits = philox(key_, counter(query) + static_cast<unsigned>(group));
    return is_kept(bits.x) | is_kept(bits.y) << 1 | is_kept(bits.z) << 2 | is_kept(bits.w) << 3;
  }

  // The factors of a query's keys 4 group to 4 group + 3.
  __device__ float4 factors(int query, int group) const {
    const uint4 bits = philox(key_, counter(query) + static_cast<unsigned>(group));
    return make_float4(factor(bits.x), factor(bits.y), factor(bits.z), factor(bits.w));
  }

 private:
  __device__ unsigned is_kept(unsigned bits) const { return (bits >> 8) < threshold_ ? 0 : 1; }
  __device__ float factor(unsigned bits) const { return is_kept(bits) != 0 ? scale_ : 0.0F; }

  std::uint64_t key_;
  std::uint64_t first_;  // of the head's groups of four
  unsigned groups_per_row_;
  unsigned threshold_;
  float scale_;
};

}  // namespace trireme::cuda
