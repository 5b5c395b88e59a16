#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/residual.h"

namespace trireme::cuda {
namespace {

constexpr int kPacks = 1;  // of a thread: masks take registers

template <typename T>
struct Operands {
  T* sum;
  const T* residual;  // may be sum
  const T* branch;    // null: none
  const float* row;
  std::int64_t width;
  DropoutMask dropout;
};

// A pack lies in one row.
template <bool kHasRow, typename T, int kWidth>
__global__ void __launch_bounds__(kFlatThreads) add_all(const Operands<T> p, std::int64_t n) {
  for_each_pack<kWidth, kPacks>(n, [=]<int w>(std::int64_t i) {
    Floats<w> sum = load_floats<w>(p.residual + i);
    if (p.branch != nullptr) {
      const Floats<w> branch = load_floats<w>(p.branch + i);
      if (p.dropout) {
        const Floats<w> factors = p.dropout.factors<w>(i);
#pragma unroll
        for (int j = 0; j < w; ++j) sum[j] += branch[j] * factors[j];
      } else {
#pragma unroll
        for (int j = 0; j < w; ++j) sum[j] += branch[j];
      }
    }
    if constexpr (kHasRow) {
      const float* const row = p.row + i % p.width;
#pragma unroll
      for (int j = 0; j < w; ++j) sum[j] += row[j];
    }
    store(p.sum + i, pack<T>(sum));
  });
}

}  // namespace

void add_residual(Tensor sum_NC, Tensor residual_NC, Tensor branch_NC, Tensor row_C, Dropout dropout,
                  Stream stream) {
  const std::int64_t width = sum_NC.dim(1);
  const std::int64_t per_vector = 16 / size_bytes(sum_NC.dtype());
  const bool is_aligned = are_aligned(sum_NC.raw_data(), residual_NC.raw_data(), branch_NC.raw_data()) &&
                          (!row_C || width % per_vector == 0);
  with_type_and_width(sum_NC.dtype(), is_aligned, [&]<typename T, int kWidth>() {
    const std::int64_t n = sum_NC.num_elements();
    const Operands<T> operands{.sum = sum_NC.data<T>(),
                               .residual = residual_NC.data<T>(),
                               .branch = branch_NC ? branch_NC.data<T>() : nullptr,
                               .row = row_C ? row_C.data<float>() : nullptr,
                               .width = width,
                               .dropout = DropoutMask(dropout)};
    launch(row_C ? add_all<true, T, kWidth> : add_all<false, T, kWidth>, flat_grid(n, kWidth, kPacks), stream,
           operands, n);
  });
}

}  // namespace trireme::cuda
