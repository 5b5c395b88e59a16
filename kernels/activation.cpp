#include "kernels/activation.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(activation_forward)
TRIREME_DECLARE_CPU(activation_backward)

void activation_forward(Tensor y, Tensor x, Activation activation, Stream stream) {
  const OperandCheck check("activation_forward");
  check.operand("x", x, x.shape());
  check.operand("y", y, x.shape());
  TRIREME_CPU(activation_forward)(y, x, activation, stream);
}

void activation_backward(Tensor dx, Tensor dy, Tensor x, Activation activation, Stream stream) {
  const OperandCheck check("activation_backward");
  check.operand("x", x, x.shape());
  check.operand("dy", dy, x.shape());
  check.operand("dx", dx, x.shape());
  TRIREME_CPU(activation_backward)(dx, dy, x, activation, stream);
}

}  // namespace trireme
