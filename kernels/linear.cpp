#include "kernels/linear.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(linear_forward)
TRIREME_DECLARE_CPU(linear_backward)
TRIREME_DECLARE_CPU(linear_activation_forward)
TRIREME_DECLARE_CPU(linear_activation_backward)

namespace {

void check_linear(const OperandCheck& check, Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O) {
  check.num_dims("x", x_NI, 2);
  check.num_dims("w", w_OI, 2);
  const std::int64_t n = x_NI.dim(0);
  const std::int64_t i = w_OI.dim(1);
  const std::int64_t o = w_OI.dim(0);
  check.operand("x", x_NI, {n, i}, Layout::kStrided);
  check.operand("w", w_OI, {o, i}, Layout::kStrided);
  check.operand("y", y_NO, {n, o}, Layout::kStrided);
  check.optional("bias", bias_O, {o});
}

void check_gradients(const OperandCheck& check, Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor x_NI,
                     Tensor w_OI) {
  check.optional("dx", dx_NI, x_NI.shape(), Layout::kStrided);
  check.operand("dw", dw_OI, w_OI.shape(), Layout::kStrided);
  check.optional("dbias", dbias_O, {w_OI.dim(0)});
}

}  // namespace

void linear_forward(Tensor y_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O, Stream stream) {
  check_linear(OperandCheck("linear_forward"), y_NO, x_NI, w_OI, bias_O);
  TRIREME_CPU(linear_forward)(y_NO, x_NI, w_OI, bias_O, stream);
}

void linear_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI, Tensor w_OI,
                     Stream stream) {
  const OperandCheck check("linear_backward");
  check_linear(check, dy_NO, x_NI, w_OI, {});
  check_gradients(check, dx_NI, dw_OI, dbias_O, x_NI, w_OI);
  TRIREME_CPU(linear_backward)(dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, stream);
}

void linear_activation_forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Tensor w_OI, Tensor bias_O,
                               Activation activation, Stream stream) {
  const OperandCheck check("linear_activation_forward");
  check_linear(check, y_NO, x_NI, w_OI, bias_O);
  check.operand("preactivation", preactivation_NO, y_NO.shape(), Layout::kStrided);
  TRIREME_CPU(linear_activation_forward)(y_NO, preactivation_NO, x_NI, w_OI, bias_O, activation, stream);
}

void linear_activation_backward(Tensor dx_NI, Tensor dw_OI, Tensor dbias_O, Tensor dy_NO, Tensor x_NI,
                                Tensor w_OI, Tensor preactivation_NO, Activation activation, Stream stream) {
  const OperandCheck check("linear_activation_backward");
  check_linear(check, dy_NO, x_NI, w_OI, {});
  check_gradients(check, dx_NI, dw_OI, dbias_O, x_NI, w_OI);
  check.operand("preactivation", preactivation_NO, dy_NO.shape(), Layout::kStrided);
  TRIREME_CPU(linear_activation_backward)
  (dx_NI, dw_OI, dbias_O, dy_NO, x_NI, w_OI, preactivation_NO, activation, stream);
}

}  // namespace trireme
