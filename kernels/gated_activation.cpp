#include "kernels/gated_activation.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(gated_activation_forward)
TRIREME_DECLARE(gated_activation_backward)

void gated_activation_forward(Tensor y_NF, Tensor x_NG, Activation activation, Stream stream) {
  const OperandCheck check("gated_activation_forward", stream.device());
  check.num_dims("y", y_NF, 2);
  const DType dtype = check.type_of_numbers("y", y_NF);
  check.operand("y", y_NF, y_NF.shape(), Layout::kContiguous, dtype);
  check.operand("x", x_NG, {y_NF.dim(0), 2 * y_NF.dim(1)}, Layout::kContiguous, dtype);
  TRIREME_RUN(gated_activation_forward, stream)(y_NF, x_NG, activation, stream);
}

void gated_activation_backward(Tensor dx_NG, Tensor dy_NF, Tensor x_NG, Activation activation,
                               Stream stream) {
  const OperandCheck check("gated_activation_backward", stream.device());
  check.num_dims("dy", dy_NF, 2);
  const DType dtype = check.type_of_numbers("dy", dy_NF);
  check.operand("dy", dy_NF, dy_NF.shape(), Layout::kContiguous, dtype);
  check.operand("x", x_NG, {dy_NF.dim(0), 2 * dy_NF.dim(1)}, Layout::kContiguous, dtype);
  check.operand("dx", dx_NG, x_NG.shape(), Layout::kContiguous, dtype);
  TRIREME_RUN(gated_activation_backward, stream)(dx_NG, dy_NF, x_NG, activation, stream);
}

}  // namespace trireme
