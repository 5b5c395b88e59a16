#include "kernels/rms_norm.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(residual_rms_norm_forward)
TRIREME_DECLARE_CPU(residual_rms_norm_backward)

void residual_rms_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor rrms_N, Tensor residual_NC,
                               Tensor branch_NC, Tensor weight_C, float epsilon, Dropout dropout,
                               Stream stream) {
  const OperandCheck check("residual_rms_norm_forward");
  check.num_dims("residual", residual_NC, 2);
  const Shape rows = residual_NC.shape();
  check.operand("residual", residual_NC, rows);
  check.operand("y", y_NC, rows);
  if (branch_NC) {
    check.operand("branch", branch_NC, rows);
    check.operand("sum", sum_NC, rows);
  }
  check.operand("rrms", rrms_N, {rows[0]});
  check.operand("weight", weight_C, {rows[1]});
  check.dropout(dropout);
  TRIREME_CPU(residual_rms_norm_forward)
  (y_NC, sum_NC, rrms_N, residual_NC, branch_NC, weight_C, epsilon, dropout, stream);
}

void residual_rms_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dy_NC,
                                Tensor sum_NC, Tensor rrms_N, Tensor weight_C, Dropout dropout,
                                Stream stream) {
  const OperandCheck check("residual_rms_norm_backward");
  check.num_dims("sum", sum_NC, 2);
  const Shape rows = sum_NC.shape();
  check.operand("sum", sum_NC, rows);
  check.operand("dsum", dsum_NC, rows);
  check.optional("dbranch", dbranch_NC, rows);
  check.operand("dy", dy_NC, rows);
  check.operand("rrms", rrms_N, {rows[0]});
  check.operand("weight", weight_C, {rows[1]});
  check.operand("dweight", dweight_C, {rows[1]});
  check.dropout(dropout);
  TRIREME_CPU(residual_rms_norm_backward)
  (dsum_NC, dbranch_NC, dweight_C, dy_NC, sum_NC, rrms_N, weight_C, dropout, stream);
}

}  // namespace trireme
