#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/reduce.h"

namespace trireme::cuda {
namespace {

// Elements that a block sums.  They, and which thread adds which of them, make the order of the sum: the same
// for any grid, and wherever the operands lie.
constexpr std::int64_t kRange = 1 << 15;
constexpr int kThreads = 256;
constexpr int kThreadsOfTotal = 1024;

template <typename T>
struct Squares {
  static constexpr int kWidth = kVectorWidth<T>;
  const T* x;

  // sums[j] += the term of element i + j, for j < w.
  template <int w>
  __device__ void add(double* sums, std::int64_t i) const {
    const Floats<w> numbers = load_floats<w>(x + i);
#pragma unroll
    for (int j = 0; j < w; ++j) {
      const double number = numbers[j];
      sums[j] += number * number;
    }
  }
};

struct Differences {
  static constexpr int kWidth = kVectorWidth<float>;
  const float* a;
  const float* b;

  template <int w>
  __device__ void add(double* sums, std::int64_t i) const {
    const Floats<w> as = load_floats<w>(a + i);
    const Floats<w> bs = load_floats<w>(b + i);
#pragma unroll
    for (int j = 0; j < w; ++j) sums[j] += static_cast<double>(as[j]) - static_cast<double>(bs[j]);
  }
};

// partial[block] = the sum of the terms of its range.
template <typename Term>
__global__ void __launch_bounds__(kThreads)
    sum_ranges(double* partial, const Term term, std::int64_t n, bool is_aligned) {
  constexpr int kWidth = Term::kWidth;
  const std::int64_t begin = blockIdx.x * kRange;
  const std::int64_t end = min(n, begin + kRange);
  double sums[kWidth] = {};
  for (std::int64_t i = begin + static_cast<int>(threadIdx.x) * kWidth; i < end; i += kThreads * kWidth) {
    if (is_aligned && i + kWidth <= end) {
      term.template add<kWidth>(sums, i);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        if (i + j < end) term.template add<1>(sums + j, i + j);
      }
    }
  }
  double sum = 0.0;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) sum += sums[j];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreadsOfTotal)
    add_total(float* result, const double* partial, std::int64_t num_ranges) {
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < num_ranges; i += kThreadsOfTotal) sum += partial[i];
  sum = block_sum<kThreadsOfTotal>(sum);
  if (threadIdx.x == 0) *result = static_cast<float>(*result + sum);
}

template <typename Term>
void accumulate(Tensor result_1, const Term& term, std::int64_t n, bool is_aligned, const Stream& stream) {
  const std::int64_t num_ranges = divide_up(n, kRange);
  auto* const partial =
      static_cast<double*>(stream.cuda()->scratch(num_ranges * static_cast<std::int64_t>(sizeof(double))));
  launch(sum_ranges<Term>, {num_ranges, kThreads}, stream, partial, term, n, is_aligned);
  launch(add_total, {1, kThreadsOfTotal}, stream, result_1.data<float>(), partial, num_ranges);
}

}  // namespace

void accumulate_sum_of_differences(Tensor result_1, Tensor a, Tensor b, Stream stream) {
  accumulate(result_1, Differences{a.data<float>(), b.data<float>()}, a.num_elements(),
             are_aligned(a.raw_data(), b.raw_data()), stream);
}

void accumulate_sum_of_squares(Tensor result_1, Tensor x, Stream stream) {
  const bool aligned = are_aligned(x.raw_data());
  if (x.dtype() == DType::kBfloat16) {
    accumulate(result_1, Squares<Bfloat16>{x.data<Bfloat16>()}, x.num_elements(), aligned, stream);
  } else {
    accumulate(result_1, Squares<float>{x.data<float>()}, x.num_elements(), aligned, stream);
  }
}

}  // namespace trireme::cuda
