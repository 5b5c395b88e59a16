#include "kernels/gated_activation.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(gated_activation_forward)
TRIREME_DECLARE_CPU(gated_activation_backward)

void gated_activation_forward(Tensor y_NF, Tensor x_NG, Activation activation, Stream stream) {
  const OperandCheck check("gated_activation_forward");
  check.num_dims("y", y_NF, 2);
  check.operand("y", y_NF, y_NF.shape());
  check.operand("x", x_NG, {y_NF.dim(0), 2 * y_NF.dim(1)});
  TRIREME_CPU(gated_activation_forward)(y_NF, x_NG, activation, stream);
}

void gated_activation_backward(Tensor dx_NG, Tensor dy_NF, Tensor x_NG, Activation activation,
                               Stream stream) {
  const OperandCheck check("gated_activation_backward");
  check.num_dims("dy", dy_NF, 2);
  check.operand("dy", dy_NF, dy_NF.shape());
  check.operand("x", x_NG, {dy_NF.dim(0), 2 * dy_NF.dim(1)});
  check.operand("dx", dx_NG, x_NG.shape());
  TRIREME_CPU(gated_activation_backward)(dx_NG, dy_NF, x_NG, activation, stream);
}

}  // namespace trireme
