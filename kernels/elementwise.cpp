#include "kernels/elementwise.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(fill)

void fill(Tensor x, float value, Stream stream) {
  OperandCheck("fill").operand("x", x, x.shape());
  TRIREME_CPU(fill)(x, value, stream);
}

}  // namespace trireme
