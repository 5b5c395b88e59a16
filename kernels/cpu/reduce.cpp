#include "kernels/reduce.h"

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

// The sum of term(i) over [0, count): of each range in 16 interleaved sums, on every level, then over the
// ranges in order.
template <typename Term>
double sum(std::int64_t count, Term term) {
  constexpr std::int64_t kRange = 1 << 15;
  constexpr std::int64_t kSums = 16;
  const std::int64_t num_ranges = (count + kRange - 1) / kRange;
  double* const partial = reinterpret_cast<double*>(scratch_of_op(2 * num_ranges));
  parallel_for(count, kRange, [=](std::int64_t begin, std::int64_t end) {
    double sums[kSums] = {};
    std::int64_t i = begin;
    for (; i + kSums <= end; i += kSums) {
#pragma omp simd
      for (std::int64_t j = 0; j < kSums; ++j) sums[j] += term(i + j);
    }
    for (std::int64_t j = 0; i + j < end; ++j) sums[j] += term(i + j);
    double total = 0.0;
    for (std::int64_t j = 0; j < kSums; ++j) total += sums[j];
    partial[begin / kRange] = total;
  });
  double total = 0.0;
  for (std::int64_t i = 0; i < num_ranges; ++i) total += partial[i];
  return total;
}

void accumulate_sum_of_differences(Tensor result_1, Tensor a_N, Tensor b_N, Stream) {
  float* const result = result_1.data<float>();
  const float* const a = a_N.data<float>();
  const float* const b = b_N.data<float>();
  const auto difference = [=](std::int64_t i) {
    return static_cast<double>(a[i]) - static_cast<double>(b[i]);
  };
  *result = static_cast<float>(*result + sum(a_N.num_elements(), difference));
}

void accumulate_sum_of_squares(Tensor result_1, Tensor x, Stream) {
  float* const result = result_1.data<float>();
  const float* const values = x.data<float>();
  const auto square = [=](std::int64_t i) {
    const auto value = static_cast<double>(values[i]);
    return value * value;
  };
  *result = static_cast<float>(*result + sum(x.num_elements(), square));
}

TRIREME_END_ISA
