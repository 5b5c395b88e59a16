// Dropout's mask (kernels/dropout.h), on the device.
#pragma once

#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/dropout.h"

namespace trireme::cuda {

// Passed to kernels by value.
class DropoutMask {
 public:
  explicit DropoutMask(const Dropout& dropout)
      : key_(dropout.key),
        offset_(dropout.offset),
        threshold_(dropout ? dropout.threshold() : 0),
        scale_(dropout.scale()) {}

  // Whether anything is dropped.
  __device__ explicit operator bool() const { return threshold_ > 0; }

  // The factors of elements first to first + kWidth - 1.  REQUIRES: first is a multiple of 4, unless kWidth
  // is 1.
  template <int kWidth>
  __device__ Floats<kWidth> factors(std::int64_t first) const {
    const std::uint64_t index = offset_ + static_cast<std::uint64_t>(first);
    Floats<kWidth> result;
    if constexpr (kWidth == 1) {
      const uint4 bits = philox(key_, index / 4);
      const unsigned word = index % 4;
      result[0] = factor(word == 0 ? bits.x : word == 1 ? bits.y : word == 2 ? bits.z : bits.w);
    } else {
#pragma unroll
      for (int i = 0; i < kWidth; i += 4) {
        const uint4 bits = philox(key_, (index + i) / 4);
        result[i] = factor(bits.x);
        result[i + 1] = factor(bits.y);
        result[i + 2] = factor(bits.z);
        result[i + 3] = factor(bits.w);
      }
    }
    return result;
  }

 private:
  __device__ float factor(unsigned bits) const {
    return (bits >> 8) < threshold_ ? 0.0F : scale_;
  }

  std::uint64_t key_;
  std::uint64_t offset_;
  unsigned threshold_;
  float scale_;
};

}  // namespace trireme::cuda
