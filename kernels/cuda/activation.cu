#include "kernels/activation.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

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

template <typename Function, typename T, int kWidth>
__global__ void __launch_bounds__(kFlatThreads) activate(T* y, const T* x, std::int64_t n) {
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) {
    Floats<w> numbers = load_floats<w>(x + i);
#pragma unroll
    for (int j = 0; j < w; ++j) numbers[j] = Function::value(numbers[j]);
    store(y + i, pack<T>(numbers));
  });
}

template <typename Function, typename T, int kWidth>
__global__ void __launch_bounds__(kFlatThreads)
    differentiate(T* dx, const T* dy, const T* x, std::int64_t n) {
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) {
    const Floats<w> numbers = load_floats<w>(x + i);
    Floats<w> gradient = load_floats<w>(dy + i);
#pragma unroll
    for (int j = 0; j < w; ++j) gradient[j] *= Function::derivative(numbers[j]);
    store(dx + i, pack<T>(gradient));
  });
}

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

template <typename Function>
void forward(Tensor y, Tensor x, Stream stream) {
  with_type_and_width(x.dtype(), are_aligned(y.raw_data(), x.raw_data()), [&]<typename T, int kWidth>() {
    const std::int64_t n = x.num_elements();
    launch(activate<Function, T, kWidth>, flat_grid(n, kWidth), stream, y.data<T>(), x.data<T>(), n);
  });
}

template <typename Function>
void backward(Tensor dx, Tensor dy, Tensor x, Stream stream) {
  const bool aligned = are_aligned(dx.raw_data(), dy.raw_data(), x.raw_data());
  with_type_and_width(x.dtype(), aligned, [&]<typename T, int kWidth>() {
    const std::int64_t n = x.num_elements();
    launch(differentiate<Function, T, kWidth>, flat_grid(n, kWidth), stream, dx.data<T>(), dy.data<T>(),
           x.data<T>(), n);
  });
}

}  // namespace

void activation_forward(Tensor y, Tensor x, Activation activation, Stream stream) {
  with_function(activation, [&](auto function) { forward<decltype(function)>(y, x, stream); });
}

void activation_backward(Tensor dx, Tensor dy, Tensor x, Activation activation, Stream stream) {
  with_function(activation, [&](auto function) { backward<decltype(function)>(dx, dy, x, stream); });
}

}  // namespace trireme::cuda
