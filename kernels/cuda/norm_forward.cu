#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/norm.h"

namespace trireme::cuda {
namespace {

template <typename T, typename W>
struct Operands {
  T* y;
  T* sum;       // null without a branch
  float* mean;  // null, as bias: RMSNorm
  float* rstd;
  const T* residual;  // may be sum
  const T* branch;    // null: none
  const W* weight;
  const W* bias;
  float epsilon;
  DropoutMask dropout;
  std::int64_t num_rows;
  RowPlan plan;
};

// Of a row a thread holds 32 numbers, or 4 if it must load them one by one.
template <int kWidth>
constexpr int kPacks = kWidth == 1 ? 4 : 32 / kWidth;

// What a thread holds of a row: what is to be added, and then the sum in place of `residual`.
template <typename T, int kWidth>
struct Held {
  Pack<T, kWidth> residual;
  Pack<T, kWidth> branch;
};

// residual + dropout(branch), the first of which is element i of the matrix.
template <typename T, int kWidth>
__device__ inline Pack<T, kWidth> sum_of(const Held<T, kWidth>& held, const DropoutMask& dropout,
                                         std::int64_t i) {
  Floats<kWidth> sum = floats(held.residual);
  const Floats<kWidth> branch = floats(held.branch);
  if (dropout) {
    const Floats<kWidth> factors = dropout.factors<kWidth>(i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += branch[j] * factors[j];
  } else {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += branch[j];
  }
  return pack<T>(sum);
}

// Of a LayerNorm, or else of an RMSNorm, which has neither mean nor bias.
template <bool kIsLayerNorm, typename T, typename W, int kWidth>
__global__ void __launch_bounds__(kMaxRowThreads, 1) norm_forward(const Operands<T, W> p) {
  RowGroup group(p.plan);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * p.plan.rows_at_once + group.index();
  const bool is_there = row < p.num_rows;
  const std::int64_t begin = row * p.plan.width;
  HeldRow<Held<T, kWidth>, kPacks<kWidth>, kWidth> x(group, p.plan, is_there);
  const auto read = [&](Held<T, kWidth>& held, int c) {
    held.residual = load<kWidth>(p.residual + begin + c);
    if (p.branch != nullptr) held.branch = load<kWidth>(p.branch + begin + c);
  };
  // Once the sum is stored.
  const auto read_sum = [&](Held<T, kWidth>& held, int c) {
    held.residual = load<kWidth>((p.branch == nullptr ? p.residual : p.sum) + begin + c);
  };

  // All loads before the first store, which they might otherwise have to wait for.
  x.visit_held(read);
  float total[1] = {};  // of the numbers, or their squares
  x.visit(read, [&](Held<T, kWidth>& held, int c) {
    if (p.branch != nullptr) {
      held.residual = sum_of(held, p.dropout, begin + c);
      store(p.sum + begin + c, held.residual);
    }
    const Floats<kWidth> numbers = floats(held.residual);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) total[0] += kIsLayerNorm ? numbers[j] : numbers[j] * numbers[j];
  });
  group.sum(total);

  float mean = 0.0F;
  float variance = total[0] * p.plan.inverse_width;
  if constexpr (kIsLayerNorm) {
    // Around a mean that is nearly right, which the rest then corrects: large means cost no digits.
    const float near_mean = total[0] * p.plan.inverse_width;
    float moments[2] = {};  // the rest, the squares
    x.visit(read_sum, [&](const Held<T, kWidth>& held, int) {
      const Floats<kWidth> numbers = floats(held.residual);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const float d = numbers[j] - near_mean;
        moments[0] += d;
        moments[1] += d * d;
      }
    });
    group.sum(moments);
    const float correction = moments[0] * p.plan.inverse_width;
    mean = near_mean + correction;
    variance = moments[1] * p.plan.inverse_width - correction * correction;
  }
  const float rstd = rsqrtf(variance + p.epsilon);

  x.visit(read_sum, [&](const Held<T, kWidth>& held, int c) {
    Floats<kWidth> numbers = floats(held.residual);
    const Floats<kWidth> weight = load_floats<kWidth>(p.weight + c);
    if constexpr (kIsLayerNorm) {
      const Floats<kWidth> bias = load_floats<kWidth>(p.bias + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) numbers[j] = (numbers[j] - mean) * rstd * weight[j] + bias[j];
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) numbers[j] *= rstd * weight[j];
    }
    store(p.y + begin + c, pack<T>(numbers));
  });
  if (is_there && group.warp() == 0 && group.lane() == 0) {
    if constexpr (kIsLayerNorm) p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

}  // namespace

void residual_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor residual_NC,
                           Tensor branch_NC, Tensor weight_C, Tensor bias_C, float epsilon, Dropout dropout,
                           Stream stream) {
  const std::int64_t width = residual_NC.dim(1);
  const auto run = [&]<typename T, typename W, int kWidth>() {
    const RowPlan plan = plan_rows<kPacks<kWidth>, kWidth>(width);
    const std::int64_t num_rows = residual_NC.dim(0);
    const auto kernel = mean_N ? norm_forward<true, T, W, kWidth> : norm_forward<false, T, W, kWidth>;
    launch(kernel, {divide_up(num_rows, plan.rows_at_once), plan.num_threads()}, stream,
           Operands<T, W>{.y = y_NC.data<T>(),
                          .sum = branch_NC ? sum_NC.data<T>() : nullptr,
                          .mean = mean_N ? mean_N.data<float>() : nullptr,
                          .rstd = rstd_N.data<float>(),
                          .residual = residual_NC.data<T>(),
                          .branch = branch_NC ? branch_NC.data<T>() : nullptr,
                          .weight = weight_C.data<W>(),
                          .bias = mean_N ? bias_C.data<W>() : nullptr,
                          .epsilon = epsilon,
                          .dropout = DropoutMask(dropout),
                          .num_rows = num_rows,
                          .plan = plan});
  };
  const bool aligned = width * size_bytes(y_NC.dtype()) % 16 == 0 &&
                       are_aligned(y_NC.raw_data(), sum_NC.raw_data(), residual_NC.raw_data(),
                                   branch_NC.raw_data(), weight_C.raw_data(), bias_C.raw_data());
  with_type_and_width(y_NC.dtype(), aligned, [&]<typename T, int kWidth>() {
    if (weight_C.dtype() == DType::kFloat32) {
      run.template operator()<T, float, kWidth>();
    } else {
      run.template operator()<T, T, kWidth>();
    }
  });
}

}  // namespace trireme::cuda
