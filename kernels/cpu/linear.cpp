#include "kernels/linear.h"

#include <cstring>

#include "kernels/cpu/activation.h"
#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"

TRIREME_BEGIN_ISA

// What becomes of each block of a product, as soon as it is complete, by the preactivation there.
struct AtPreactivation {
  float* values;
  std::int64_t values_stride;
  const float* preactivation;
  std::int64_t preactivation_stride;

  AtPreactivation(const Tensor& values_NF, const Tensor& preactivation_NF)
      : values(values_NF.data<float>()),
        values_stride(values_NF.stride(0)),
        preactivation(preactivation_NF.data<float>()),
        preactivation_stride(preactivation_NF.stride(0)) {}

  // Calls f(value, preactivation) for each element of the block.
  template <typename F>
  void visit(std::int64_t row, std::int64_t num_rows, std::int64_t column, std::int64_t num_columns,
             const F& f) const {
    for (std::int64_t n = row; n < row + num_rows; ++n) {
      float* const y = values + n * values_stride + column;
      const float* const x = preactivation + n * preactivation_stride + column;
#pragma omp simd
      for (std::int64_t i = 0; i < num_columns; ++i) f(y[i], x[i]);
    }
  }
};

template <typename Function>
void activate_block(const void* context, std::int64_t row, std::int64_t num_rows, std::int64_t column,
                    std::int64_t num_columns) {
  static_cast<const AtPreactivation*>(context)->visit(row, num_rows, column, num_columns,
                                                      [](float& y, float x) { y = Function::value(x); });
}

template <typename Function>
void differentiate_block(const void* context, std::int64_t row, std::int64_t num_rows, std::int64_t column,
                         std::int64_t num_columns) {
  static_cast<const AtPreactivation*>(context)->visit(
      row, num_rows, column, num_columns, [](float& dx, float x) { dx *= Function::derivative(x); });
}

// dbias += the column sums of dy.
void add_column_sums(Tensor dbias_O, Tensor dy_NO) {
  const float* const dy = dy_NO.data<float>();
  const std::int64_t width = dy_NO.dim(1);
  if (width == 0) return;
  const std::int64_t stride = dy_NO.stride(0);
  const std::int64_t num_ranges = num_column_sum_ranges(dy_NO.dim(0));
  float* const partial = scratch_of_op(num_ranges * width);
  parallel_for(dy_NO.dim(0), kColumnSumRows, [=](std::int64_t begin, std::int64_t end) {
    float* const sums = partial + begin / kColumnSumRows * width;
    std::memset(sums, 0, static_cast<std::size_t>(width) * sizeof(float));
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const row = dy + n * stride;
#pragma omp simd
      for (std::int64_t o = 0; o < width; ++o) sums[o] += row[o];
    }
  });
  add_partial_column_sums(dbias_O.data<float>(), partial, num_ranges, width, width);
}

void backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
              GemmEpilogue of_dx) {
  if (dbias_O) add_column_sums(dbias_O, dy_NO);
  if (dw_OI) gemm(dw_OI, dy_NO, x_NI, {.transpose_a = true, .accumulate = true});
  if (dx_NI) gemm(dx_NI, dy_NO, w_OI, {}, nullptr, of_dx);
}

void linear_forward(Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O, Stream) {
  gemm(y_NO, x_NI, w_OI, {.transpose_b = true}, bias_O ? bias_O.data<float>() : nullptr);
}

void linear_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
                     Stream) {
  backward(dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, {});
}

void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream) {
  const AtPreactivation at(y_NO, preactivation_NO);
  GemmEpilogue epilogue{nullptr, &at};
  with_function(activation, [&](auto function) { epilogue.function = activate_block<decltype(function)>; });
  gemm(preactivation_NO, x_NI, w_OI, {.transpose_b = true}, bias_O ? bias_O.data<float>() : nullptr,
       epilogue);
}

void linear_backward_through(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                             Tensor w_OI, Tensor preactivation_NI, Activation activation, Stream) {
  if (!dx_NI) return backward({}, dw_OI, dbias_O, dy_NO, x_NI, w_OI, {});
  const AtPreactivation at(dx_NI, preactivation_NI);
  GemmEpilogue epilogue{nullptr, &at};
  with_function(activation,
                [&](auto function) { epilogue.function = differentiate_block<decltype(function)>; });
  backward(dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, epilogue);
}

TRIREME_END_ISA
