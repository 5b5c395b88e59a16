#include "kernels/linear.h"

#include "kernels/cuda/cublas_lt.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/elementwise.h"

namespace trireme::cuda {
namespace {

Tensor scratch_of(const Stream& stream, DType dtype, const Shape& shape) {
  return {stream.cuda()->scratch(shape.num_elements() * size_bytes(dtype)), dtype, shape, stream.device()};
}

void add_weight_gradients(Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, const Stream& stream) {
  Product product{.c_MN = dw_OI, .a = dy_NO, .b = x_NI, .options = {.transpose_a = true, .accumulate = true}};
  if (!dbias_O) return multiply(product, stream);
  product.epilogue = Epilogue::kBiasGradient;
  product.bias = scratch_of(stream, dbias_O.dtype(), dbias_O.shape());
  if (try_to_multiply(product, stream)) return accumulate(dbias_O, product.bias, stream);
  multiply({.c_MN = dw_OI, .a = dy_NO, .b = x_NI, .options = product.options}, stream);
  const Tensor ones = scratch_of(stream, dy_NO.dtype(), {1, dy_NO.dim(0)});
  fill(ones, 1.0F, stream);
  multiply(
      {.c_MN = dbias_O.view({1, dbias_O.dim(0)}), .a = ones, .b = dy_NO, .options = {.accumulate = true}},
      stream);
}

}  // namespace

void linear_forward(Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O, Stream stream) {
  multiply({.c_MN = y_NO,
            .a = x_NI,
            .b = w_OI,
            .options = {.transpose_b = true},
            .epilogue = bias_O ? Epilogue::kBias : Epilogue::kNone,
            .bias = bias_O},
           stream);
}

void linear_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
                     Stream stream) {
  if (dy_NO.dim(0) == 0) return;
  if (dw_OI) add_weight_gradients(dw_OI, dbias_O, dy_NO, x_NI, stream);
  if (dx_NI) multiply({.c_MN = dx_NI, .a = dy_NO, .b = w_OI}, stream);
}

void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream stream) {
  const bool in_place = preactivation_NO.raw_data() == y_NO.raw_data();
  if (activation == Activation::kGeluTanh && (in_place || can_be_preactivation(preactivation_NO))) {
    const Product product{.c_MN = y_NO,
                          .a = x_NI,
                          .b = w_OI,
                          .options = {.transpose_b = true},
                          .epilogue = Epilogue::kGelu,
                          .bias = bias_O,
                          .preactivation_MN = in_place ? Tensor() : preactivation_NO};
    if (try_to_multiply(product, stream)) return;
  }
  cuda::linear_forward(preactivation_NO, x_NI, w_OI, bias_O, stream);
  activation_forward(y_NO, preactivation_NO, activation, stream);
}

// Of the gradients that cuBLASLt can make on the product's way to memory only GELU's reads the preactivation:
// ReLU's wants a mask of bits.  The column sums of dx, which it could leave, too, are those of the layer
// before, and come with its weight gradient, in float32 whatever dx is of.
void linear_backward_through(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                             Tensor w_OI, Tensor preactivation_NI, Activation activation, Stream stream) {
  if (dy_NO.dim(0) == 0) return;
  if (dw_OI) add_weight_gradients(dw_OI, dbias_O, dy_NO, x_NI, stream);
  if (!dx_NI) return;
  Product product{.c_MN = dx_NI, .a = dy_NO, .b = w_OI};
  if (activation == Activation::kGeluTanh && can_be_preactivation(preactivation_NI)) {
    product.epilogue = Epilogue::kGeluGradient;
    product.preactivation_MN = preactivation_NI;
    if (try_to_multiply(product, stream)) return;
    product.epilogue = Epilogue::kNone;
    product.preactivation_MN = {};
  }
  multiply(product, stream);
  activation_backward(dx_NI, dx_NI, preactivation_NI, activation, stream);
}

}  // namespace trireme::cuda
