// Activations of one number, and their derivatives.
#pragma once

#include "kernels/activation.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

// GELU by the tanh formula.  As tanh(u) = 2 sigmoid(2u) - 1, it is x sigmoid(2u), without cancellation.
struct GeluTanh {
  static constexpr float kSlope = 1.5957691216F;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715F;

  TRIREME_INLINE static float value(float x) { return x / (1.0F + exp(-slope_of(x))); }
  TRIREME_INLINE static float derivative(float x) {
    const float u = slope_of(x);
    const float e = exp(-u);
    const float s = 1.0F / (1.0F + e);
    // 1 - s without cancellation where s is near 1; e may be Inf where s is near 0.
    const float rest = u > 0.0F ? e * s : 1.0F - s;
    return s + x * s * rest * (kSlope * (1.0F + 3.0F * kCubic * x * x));
  }

 private:
  TRIREME_INLINE static float slope_of(float x) { return kSlope * (x + kCubic * x * x * x); }
};

struct Gelu {
  TRIREME_INLINE static float value(float x) { return x * cumulative(x); }
  TRIREME_INLINE static float derivative(float x) {
    constexpr float kInverseSqrt2Pi = 0.398942280F;
    return cumulative(x) + x * kInverseSqrt2Pi * exp(-0.5F * x * x);
  }

 private:
  // erfc(z) / 2 with z = |x| / sqrt(2), as exp(-z^2) times a polynomial in 1 / (1 + z / 2), fitted for
  // relative error, 4e-8, over z <= 9.3: no cancellation in the left tail.
  TRIREME_INLINE static float cumulative(float x) {
    const float z = __builtin_fabsf(x) * 0.707106781F;
    const float t = 1.0F / (1.0F + 0.5F * z);
    float p = -0.0588013642F;
    p = p * t + 0.283262908F;
    p = p * t - 0.484467864F;
    p = p * t + 0.274921417F;
    p = p * t - 0.0244424529F;
    p = p * t + 0.201755121F;
    p = p * t + 0.243341640F;
    p = p * t + 0.282342225F;
    p = p * t + 0.282088339F;
    const float tail = 0.5F * p * t * exp(-z * z);
    return x > 0.0F ? 1.0F - tail : tail;
  }
};

struct Relu {
  // Written so that NaN stays.
  TRIREME_INLINE static float value(float x) { return x < 0.0F ? 0.0F : x; }
  TRIREME_INLINE static float derivative(float x) { return x > 0.0F ? 1.0F : x <= 0.0F ? 0.0F : x; }
};

struct Silu {
  TRIREME_INLINE static float value(float x) { return x * sigmoid(x); }
  TRIREME_INLINE static float derivative(float x) {
    const float s = sigmoid(x);
    return s + x * s * sigmoid(-x);
  }
};

// Calls visit with the activation's struct.
template <typename Visit>
inline void with_function(Activation activation, Visit visit) {
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

TRIREME_END_ISA
