// Exponentials and logarithms as the softmax has them: in base 2.
#pragma once

namespace trireme::cuda {

constexpr float kLog2E = 1.44269504F;
constexpr float kLn2 = 0.693147181F;

// 2^x, by the device's own unit: at most 2 ulp off.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace trireme::cuda
