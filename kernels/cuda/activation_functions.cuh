// Activations of one number, and their derivatives (kernels/activation.h).
#pragma once

#include "kernels/activation.h"

namespace trireme::cuda {

// Exponentials and quotients are the device's own, off by a few units in the last place.
__device__ inline float sigmoid(float x) {
  return __fdividef(1.0F, 1.0F + __expf(-x));
}

// GELU by the tanh formula.  As tanh(u) = 2 sigmoid(2u) - 1, it is x sigmoid(2u), without cancellation.
struct GeluTanh {
  static constexpr float kSlope = 1.5957691216F;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715F;

  __device__ static float value(float x) { return __fdividef(x, 1.0F + __expf(-slope_of(x))); }
  __device__ static float derivative(float x) {
    const float u = slope_of(x);
    const float e = __expf(-u);
    const float s = __fdividef(1.0F, 1.0F + e);
    // 1 - s without cancellation where s is near 1; e may be Inf where s is near 0.
    const float rest = u > 0.0F ? e * s : 1.0F - s;
    return s + x * s * rest * (kSlope * (1.0F + 3.0F * kCubic * x * x));
  }

 private:
  __device__ static float slope_of(float x) { return kSlope * (x + kCubic * x * x * x); }
};

struct Gelu {
  __device__ static float value(float x) { return x * normcdff(x); }
  __device__ static float derivative(float x) {
    constexpr float kInverseSqrt2Pi = 0.398942280F;
    return normcdff(x) + x * kInverseSqrt2Pi * __expf(-0.5F * x * x);
  }
};

struct Relu {
  // Written so that NaN stays.
  __device__ static float value(float x) { return x < 0.0F ? 0.0F : x; }
  __device__ static float derivative(float x) { return x > 0.0F ? 1.0F : x <= 0.0F ? 0.0F : x; }
};

struct Silu {
  __device__ static float value(float x) { return __fdividef(x, 1.0F + __expf(-x)); }
  __device__ static float derivative(float x) {
    const float s = sigmoid(x);
    return s + x * s * sigmoid(-x);
  }
};

// Calls visit with the activation's struct.
template <typename Visit>
void with_function(Activation activation, Visit visit) {
  switch (activation) {
    case Activation::kGeluTanh:
      return visit(GeluTanh{});
    case Activation::kGelu:
      return visit(Gelu{});
    case Activation::kRelu:
      return visit(Relu{});
    case Activation::kSilu:
      return visit(Silu{});
  }
}

}  // namespace trireme::cuda
