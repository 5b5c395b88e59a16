#include "kernels/linear.h"

#include "kernels/cuda/cublas_lt.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/elementwise.h"

namespace trireme::cuda {

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
  if (dw_OI) {
    Product product{
        .c_MN = dw_OI, .a = dy_NO, .b = x_NI, .options = {.transpose_a = true, .accumulate = true}};
    if (dbias_O) {
      product.epilogue = Epilogue::kBiasGradient;
      product.bias = dbias_O.moved_to(
          stream.cuda()->scratch(dbias_O.num_elements() * size_bytes(dbias_O.dtype())), stream.device());
    }
    multiply(product, stream);
    if (dbias_O) accumulate(dbias_O, product.bias, stream);
  }
  if (dx_NI) multiply({.c_MN = dx_NI, .a = dy_NO, .b = w_OI}, stream);
}

void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream stream) {
  const bool in_place = preactivation_NO.raw_data() == y_NO.raw_data();
  if (activation == Activation::kGeluTanh && (in_place || can_store_preactivation(preactivation_NO))) {
    return multiply({.c_MN = y_NO,
                     .a = x_NI,
                     .b = w_OI,
                     .options = {.transpose_b = true},
                     .epilogue = Epilogue::kGelu,
                     .bias = bias_O,
                     .preactivation_MN = in_place ? Tensor() : preactivation_NO},
                    stream);
  }
  cuda::linear_forward(preactivation_NO, x_NI, w_OI, bias_O, stream);
  activation_forward(y_NO, preactivation_NO, activation, stream);
}

void linear_activation_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                                Tensor w_OI, Tensor preactivation_NO, Activation activation, Stream stream) {
  activation_backward(dy_NO, dy_NO, preactivation_NO, activation, stream);
  cuda::linear_backward(dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, stream);
}

}  // namespace trireme::cuda
