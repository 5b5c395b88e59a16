#include "kernels/residual.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(add_residual)

void add_residual(Tensor sum_NC, Tensor residual_NC, Tensor branch_NC, Tensor row_C, Dropout dropout,
                  Stream stream) {
  const OperandCheck check("add_residual", stream.device());
  const DType dtype = check.type_of_numbers("sum", sum_NC);
  check.num_dims("sum", sum_NC, 2);
  check.operand("sum", sum_NC, sum_NC.shape(), Layout::kContiguous, dtype);
  check.operand("residual", residual_NC, sum_NC.shape(), Layout::kContiguous, dtype);
  check.optional("branch", branch_NC, sum_NC.shape(), Layout::kContiguous, dtype);
  check.optional("row", row_C, {sum_NC.dim(1)});
  check.dropout(dropout);
  TRIREME_RUN(add_residual, stream)(sum_NC, residual_NC, branch_NC, row_C, dropout, stream);
}

}  // namespace trireme
