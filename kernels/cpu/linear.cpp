#include "kernels/linear.h"

#include "kernels/cpu/activation.h"
#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

// Where the activation of each block of the product goes, as soon as the block is complete.
struct Activated {
  float* y;
  std::int64_t y_stride;
  const float* preactivation;
  std::int64_t preactivation_stride;
};

template <typename Function>
void activate_block(const void* context, std::int64_t row, std::int64_t num_rows, std::int64_t column,
                    std::int64_t num_columns) {
  const Activated& to = *static_cast<const Activated*>(context);
  for (std::int64_t n = row; n < row + num_rows; ++n) {
    float* const y = to.y + n * to.y_stride + column;
    const float* const x = to.preactivation + n * to.preactivation_stride + column;
#pragma omp simd
    for (std::int64_t o = 0; o < num_columns; ++o) y[o] = Function::value(x[o]);
  }
}

// dy becomes dy * activation'(preactivation) where there is an activation; dbias += the column sums of the
// result.  One pass over memory.
template <typename Function>
void differentiate_and_sum(Tensor dy_NO, Tensor preactivation_NO, Tensor dbias_O) {
  constexpr bool kActivation = requires {
    Function::derivative(0.0F);
  };
  float* const dy = dy_NO.data<float>();
  const float* const pre = kActivation ? preactivation_NO.data<float>() : nullptr;
  const std::int64_t width = dy_NO.dim(1);
  const std::int64_t dy_stride = dy_NO.stride(0);
  const std::int64_t pre_stride = kActivation ? preactivation_NO.stride(0) : 0;
  const std::int64_t num_ranges = num_column_sum_ranges(dy_NO.dim(0));
  float* const partial = dbias_O ? scratch_of_op(num_ranges * width) : nullptr;
  parallel_for(dy_NO.dim(0), kColumnSumRows, [=](std::int64_t begin, std::int64_t end) {
    float* const sums = partial == nullptr ? nullptr : partial + begin / kColumnSumRows * width;
    if (sums != nullptr) std::memset(sums, 0, static_cast<std::size_t>(width) * sizeof(float));
    for (std::int64_t n = begin; n < end; ++n) {
      float* const dy_row = dy + n * dy_stride;
      if constexpr (kActivation) {
        const float* const pre_row = pre + n * pre_stride;
#pragma omp simd
        for (std::int64_t o = 0; o < width; ++o) dy_row[o] *= Function::derivative(pre_row[o]);
      }
      if (sums != nullptr) {
#pragma omp simd
        for (std::int64_t o = 0; o < width; ++o) sums[o] += dy_row[o];
      }
    }
  });
  if (dbias_O) add_partial_column_sums(dbias_O.data<float>(), partial, num_ranges, width, width);
}

inline void backward_products(Tensor dx_NI, Tensor dw_OI, Tensor dy_NO, Tensor x_NI, Tensor w_OI) {
  if (dw_OI) gemm(dw_OI, dy_NO, x_NI, {.transpose_a = true, .accumulate = true});
  if (dx_NI) gemm(dx_NI, dy_NO, w_OI, {});
}

void linear_forward(Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O, Stream) {
  gemm(y_NO, x_NI, w_OI, {.transpose_b = true}, bias_O ? bias_O.data<float>() : nullptr);
}

void linear_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
                     Stream) {
  struct NoActivation {};
  if (dbias_O) differentiate_and_sum<NoActivation>(dy_NO, {}, dbias_O);
  backward_products(dx_NI, dw_OI, dy_NO, x_NI, w_OI);
}

void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream) {
  const Activated to{y_NO.data<float>(), y_NO.stride(0), preactivation_NO.data<float>(),
                     preactivation_NO.stride(0)};
  GemmEpilogue epilogue{nullptr, &to};
  with_function(activation, [&](auto function) { epilogue.function = activate_block<decltype(function)>; });
  gemm(preactivation_NO, x_NI, w_OI, {.transpose_b = true}, bias_O ? bias_O.data<float>() : nullptr,
       epilogue);
}

void linear_activation_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                                Tensor w_OI, Tensor preactivation_NO, Activation activation, Stream) {
  with_function(activation, [&](auto function) {
    differentiate_and_sum<decltype(function)>(dy_NO, preactivation_NO, dbias_O);
  });
  backward_products(dx_NI, dw_OI, dy_NO, x_NI, w_OI);
}

TRIREME_END_ISA
