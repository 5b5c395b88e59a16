#include "kernels/residual.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(add_residual)

void add_residual(Tensor sum_NC, Tensor residual_NC, Tensor branch_NC, Tensor row_C, Dropout dropout,
                  Stream stream) {
  const OperandCheck check("add_residual");
  check.num_dims("sum", sum_NC, 2);
  check.operand("sum", sum_NC, sum_NC.shape());
  check.operand("residual", residual_NC, sum_NC.shape());
  check.optional("branch", branch_NC, sum_NC.shape());
  check.optional("row", row_C, {sum_NC.dim(1)});
  check.dropout(dropout);
  TRIREME_CPU(add_residual)(sum_NC, residual_NC, branch_NC, row_C, dropout, stream);
}

}  // namespace trireme
