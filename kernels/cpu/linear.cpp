#include "kernels/linear.h"

#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

// GELU by the tanh formula.  As tanh(u) = 2 sigmoid(2u) - 1, it is x sigmoid(2u), without cancellation.
struct GeluTanh {
  static constexpr float kSlope = 1.5957691216F;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715F;

  TRIREME_INLINE static float value(float x) { return x / (1.0F + exp(-slope_of(x))); }
  TRIREME_INLINE static float derivative(float x) {
    const float u = slope_of(x);
    const float e = exp(-u);
    const float s = 1.0F / (1.0F + e);
    // 1 - s without cancellation where s is near 1; e may be Inf where s is near 0.
    const float rest = u > 0.0F ? e * s : 1.0F - s;
    return s + x * s * rest * (kSlope * (1.0F + 3.0F * kCubic * x * x));
  }

 private:
  TRIREME_INLINE static float slope_of(float x) { return kSlope * (x + kCubic * x * x * x); }
};

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
  gemm(dw_OI, dy_NO, x_NI, {.transpose_a = true, .accumulate = true});
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
  switch (activation) {
    case Activation::kGeluTanh:
      epilogue.function = activate_block<GeluTanh>;
      break;
  }
  gemm(preactivation_NO, x_NI, w_OI, {.transpose_b = true}, bias_O ? bias_O.data<float>() : nullptr,
       epilogue);
}

void linear_activation_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                                Tensor w_OI, Tensor preactivation_NO, Activation activation, Stream) {
  switch (activation) {
    case Activation::kGeluTanh:
      differentiate_and_sum<GeluTanh>(dy_NO, preactivation_NO, dbias_O);
      break;
  }
  backward_products(dx_NI, dw_OI, dy_NO, x_NI, w_OI);
}

TRIREME_END_ISA
