#include "kernels/activation.h"

#include "kernels/cpu/activation.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

constexpr std::int64_t kActivationRange = 1 << 13;

template <typename Function>
void activate(Tensor y, Tensor x) {
  const float* const in = x.data<float>();
  float* const out = y.data<float>();
  parallel_for(x.num_elements(), kActivationRange, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) out[i] = Function::value(in[i]);
  });
}

template <typename Function>
void differentiate(Tensor dx, Tensor dy, Tensor x) {
  const float* const in = x.data<float>();
  const float* const dout = dy.data<float>();
  float* const din = dx.data<float>();
  parallel_for(x.num_elements(), kActivationRange, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) din[i] = dout[i] * Function::derivative(in[i]);
  });
}

void activation_forward(Tensor y, Tensor x, Activation activation, Stream) {
  with_function(activation, [&](auto function) { activate<decltype(function)>(y, x); });
}

void activation_backward(Tensor dx, Tensor dy, Tensor x, Activation activation, Stream) {
  with_function(activation, [&](auto function) { differentiate<decltype(function)>(dx, dy, x); });
}

TRIREME_END_ISA
