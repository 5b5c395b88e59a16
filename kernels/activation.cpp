#include "kernels/activation.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(activation_forward)
TRIREME_DECLARE(activation_backward)

void activation_forward(Tensor y, Tensor x, Activation activation, Stream stream) {
  const OperandCheck check("activation_forward", stream.device());
  const DType dtype = check.type_of_numbers("x", x);
  check.operand("x", x, x.shape(), Layout::kContiguous, dtype);
  check.operand("y", y, x.shape(), Layout::kContiguous, dtype);
  TRIREME_RUN(activation_forward, stream)(y, x, activation, stream);
}

void activation_backward(Tensor dx, Tensor dy, Tensor x, Activation activation, Stream stream) {
  const OperandCheck check("activation_backward", stream.device());
  const DType dtype = check.type_of_numbers("x", x);
  check.operand("x", x, x.shape(), Layout::kContiguous, dtype);
  check.operand("dy", dy, x.shape(), Layout::kContiguous, dtype);
  check.operand("dx", dx, x.shape(), Layout::kContiguous, dtype);
  TRIREME_RUN(activation_backward, stream)(dx, dy, x, activation, stream);
}

}  // namespace trireme
