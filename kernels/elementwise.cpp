#include "kernels/elementwise.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(fill)
TRIREME_DECLARE_CPU(copy)

void fill(Tensor x, float value, Stream stream) {
  OperandCheck("fill").operand("x", x, x.shape());
  TRIREME_CPU(fill)(x, value, stream);
}

void copy(Tensor y, Tensor x, Stream stream) {
  const OperandCheck check("copy");
  check.operand("y", y, x.shape(), Layout::kStrided, x.dtype());
  check.operand("x", x, x.shape(), Layout::kStrided, x.dtype());
  TRIREME_CPU(copy)(y, x, stream);
}

}  // namespace trireme
