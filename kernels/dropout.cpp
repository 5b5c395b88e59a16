#include "kernels/dropout.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(dropout)

void dropout(Tensor y, Tensor x, Dropout dropout, Stream stream) {
  const OperandCheck check("dropout");
  check.operand("x", x, x.shape());
  check.operand("y", y, x.shape());
  check.dropout(dropout);
  TRIREME_CPU(dropout)(y, x, dropout, stream);
}

}  // namespace trireme
