#include "kernels/dropout.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(dropout)

void dropout(Tensor y, Tensor x, Dropout dropout, Stream stream) {
  const OperandCheck check("dropout", stream.device());
  const DType dtype = check.type_of_numbers("x", x);
  check.operand("x", x, x.shape(), Layout::kContiguous, dtype);
  check.operand("y", y, x.shape(), Layout::kContiguous, dtype);
  check.dropout(dropout);
  TRIREME_RUN(dropout, stream)(y, x, dropout, stream);
}

}  // namespace trireme
