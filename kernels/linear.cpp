#include "kernels/linear.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(linear_forward)
TRIREME_DECLARE(linear_backward)
TRIREME_DECLARE(linear_activation_forward)
TRIREME_DECLARE(linear_backward_through)

namespace {

void check_linear(const OperandCheck& check, Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O) {
  check.num_dims("x", x_NI, 2);
  check.num_dims("w", w_OI, 2);
  const std::int64_t n = x_NI.dim(0);
  const std::int64_t i = w_OI.dim(1);
  const std::int64_t o = w_OI.dim(0);
  const DType dtype = check.type_of_numbers("x", x_NI);
  check.operand("x", x_NI, {n, i}, Layout::kStrided, dtype);
  check.operand("w", w_OI, {o, i}, Layout::kStrided, dtype);
  check.operand("y", y_NO, {n, o}, Layout::kStrided, dtype);
  check.optional("bias", bias_O, {o}, Layout::kContiguous, dtype);
}

void check_gradients(const OperandCheck& check, Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor x_NI,
                     Tensor w_OI) {
  check.optional("dx", dx_NI, x_NI.shape(), Layout::kStrided, x_NI.dtype());
  check.optional("dw", dw_OI, w_OI.shape(), Layout::kStrided);
  check.optional("dbias", dbias_O, {w_OI.dim(0)});
  CHECK(dw_OI || !dbias_O) << "linear: dbias without dw";
}

// Of preactivations, and what is made of them.
Layout layout_of_activated(const Stream& stream) {
  return stream.device().is_cpu() ? Layout::kStrided : Layout::kContiguous;
}

}  // namespace

void linear_forward(Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O, Stream stream) {
  check_linear(OperandCheck("linear_forward", stream.device()), y_NO, x_NI, w_OI, bias_O);
  TRIREME_RUN(linear_forward, stream)(y_NO, x_NI, w_OI, bias_O, stream);
}

void linear_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
                     Stream stream) {
  const OperandCheck check("linear_backward", stream.device());
  check_linear(check, dy_NO, x_NI, w_OI, {});
  check_gradients(check, dx_NI, dw_OI, dbias_O, x_NI, w_OI);
  TRIREME_RUN(linear_backward, stream)(dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, stream);
}

void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream stream) {
  const OperandCheck check("linear_activation_forward", stream.device());
  check_linear(check, y_NO, x_NI, w_OI, bias_O);
  check.operand("preactivation", preactivation_NO, y_NO.shape(), layout_of_activated(stream), x_NI.dtype());
  TRIREME_RUN(linear_activation_forward, stream)
  (y_NO, preactivation_NO, x_NI, w_OI, bias_O, activation, stream);
}

void linear_backward_through(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                             Tensor w_OI, Tensor preactivation_NI, Activation activation, Stream stream) {
  const OperandCheck check("linear_backward_through", stream.device());
  check_linear(check, dy_NO, x_NI, w_OI, {});
  check_gradients(check, dx_NI, dw_OI, dbias_O, x_NI, w_OI);
  const Layout layout = layout_of_activated(stream);
  check.optional("dx", dx_NI, x_NI.shape(), layout, x_NI.dtype());
  check.operand("preactivation", preactivation_NI, x_NI.shape(), layout, x_NI.dtype());
  CHECK(dx_NI.raw_data() != preactivation_NI.raw_data() || preactivation_NI.num_elements() == 0)
      << "linear_backward_through: dx has the preactivation's memory";
  TRIREME_RUN(linear_backward_through, stream)
  (dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, preactivation_NI, activation, stream);
}

}  // namespace trireme
