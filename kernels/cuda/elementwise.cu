#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/elementwise.h"

namespace trireme::cuda {
namespace {

template <typename T, int kWidth>
__global__ void __launch_bounds__(kFlatThreads) fill_flat(T* x, float value, std::int64_t n) {
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) {
    Floats<w> numbers;
#pragma unroll
    for (int j = 0; j < w; ++j) numbers[j] = value;
    store(x + i, pack<T>(numbers));
  });
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kFlatThreads) add_flat(T* y, const T* x, std::int64_t n) {
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) {
    Floats<w> sum = load_floats<w>(y + i);
    const Floats<w> numbers = load_floats<w>(x + i);
#pragma unroll
    for (int j = 0; j < w; ++j) sum[j] += numbers[j];
    store(y + i, pack<T>(sum));
  });
}

template <typename To, typename From, int kWidth>
__global__ void __launch_bounds__(kFlatThreads) convert_flat(To* to, const From* from, std::int64_t n) {
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) { store(to + i, pack<To>(load_floats<w>(from + i))); });
}

template <typename To, typename From>
void convert_all(const Tensor& y, const Tensor& x, const Stream& stream) {
  constexpr int kWidth = kVectorWidth<float>;
  const std::int64_t n = x.num_elements();
  const bool is_aligned = are_aligned(y.raw_data(), x.raw_data());
  launch(is_aligned ? convert_flat<To, From, kWidth> : convert_flat<To, From, 1>,
         flat_grid(n, is_aligned ? kWidth : 1), stream, y.data<To>(), x.data<From>(), n);
}

}  // namespace

void fill(Tensor x, float value, Stream stream) {
  with_type_and_width(x.dtype(), are_aligned(x.raw_data()), [&]<typename T, int kWidth>() {
    const std::int64_t n = x.num_elements();
    launch(fill_flat<T, kWidth>, flat_grid(n, kWidth), stream, x.data<T>(), value, n);
  });
}

void accumulate(Tensor y, Tensor x, Stream stream) {
  with_type_and_width(x.dtype(), are_aligned(y.raw_data(), x.raw_data()), [&]<typename T, int kWidth>() {
    const std::int64_t n = x.num_elements();
    launch(add_flat<T, kWidth>, flat_grid(n, kWidth), stream, y.data<T>(), x.data<T>(), n);
  });
}

void convert(Tensor y, Tensor x, Stream stream) {
  if (x.dtype() == DType::kFloat32) {
    convert_all<Bfloat16, float>(y, x, stream);
  } else {
    convert_all<float, Bfloat16>(y, x, stream);
  }
}

}  // namespace trireme::cuda
