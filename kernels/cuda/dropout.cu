#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

template <typename T, int kWidth>
__global__ void __launch_bounds__(kFlatThreads)
    drop_out(T* y, const T* x, std::int64_t n, const DropoutMask mask) {
  for_each_pack<kWidth>(n, [=]<int w>(std::int64_t i) {
    Floats<w> numbers = load_floats<w>(x + i);
    const Floats<w> factors = mask.factors<w>(i);
#pragma unroll
    for (int j = 0; j < w; ++j) numbers[j] *= factors[j];
    store(y + i, pack<T>(numbers));
  });
}

}  // namespace

void dropout(Tensor y, Tensor x, Dropout dropout, Stream stream) {
  with_type_and_width(x.dtype(), are_aligned(y.raw_data(), x.raw_data()), [&]<typename T, int kWidth>() {
    const std::int64_t n = x.num_elements();
    launch(drop_out<T, kWidth>, flat_grid(n, kWidth), stream, y.data<T>(), x.data<T>(), n,
           DropoutMask(dropout));
  });
}

}  // namespace trireme::cuda
