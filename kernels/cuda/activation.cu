#include "kernels/cuda/activation_functions.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

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
