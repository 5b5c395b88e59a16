#include "kernels/norm.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(residual_norm_forward)
TRIREME_DECLARE(residual_norm_backward)

namespace {

// What weight and bias are to be, where rows are of `dtype`.
DType type_of_weight(const Tensor& weight_C, DType dtype) {
  return weight_C.dtype() == dtype ? dtype : DType::kFloat32;
}

}  // namespace

void residual_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor residual_NC,
                           Tensor branch_NC, Tensor weight_C, Tensor bias_C, float epsilon, Dropout dropout,
                           Stream stream) {
  const OperandCheck check("residual_norm_forward", stream.device());
  check.num_dims("residual", residual_NC, 2);
  const Shape rows = residual_NC.shape();
  const DType dtype = check.type_of_numbers("residual", residual_NC);
  check.operand("residual", residual_NC, rows, Layout::kContiguous, dtype);
  check.operand("y", y_NC, rows, Layout::kContiguous, dtype);
  if (branch_NC) {
    check.operand("branch", branch_NC, rows, Layout::kContiguous, dtype);
    check.operand("sum", sum_NC, rows, Layout::kContiguous, dtype);
  }
  check.optional("mean", mean_N, {rows[0]});
  check.operand("rstd", rstd_N, {rows[0]});
  const DType weight_dtype = type_of_weight(weight_C, dtype);
  check.operand("weight", weight_C, {rows[1]}, Layout::kContiguous, weight_dtype);
  if (mean_N) check.operand("bias", bias_C, {rows[1]}, Layout::kContiguous, weight_dtype);
  check.dropout(dropout);
  TRIREME_RUN(residual_norm_forward, stream)
  (y_NC, sum_NC, mean_N, rstd_N, residual_NC, branch_NC, weight_C, bias_C, epsilon, dropout, stream);
}

void residual_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dbias_C, Tensor dy_NC,
                            Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor weight_C, Dropout dropout,
                            Stream stream) {
  const OperandCheck check("residual_norm_backward", stream.device());
  check.num_dims("sum", sum_NC, 2);
  const Shape rows = sum_NC.shape();
  const DType dtype = check.type_of_numbers("sum", sum_NC);
  check.operand("sum", sum_NC, rows, Layout::kContiguous, dtype);
  check.operand("dsum", dsum_NC, rows, Layout::kContiguous, dtype);
  check.optional("dbranch", dbranch_NC, rows, Layout::kContiguous, dtype);
  check.operand("dy", dy_NC, rows, Layout::kContiguous, dtype);
  check.optional("mean", mean_N, {rows[0]});
  check.operand("rstd", rstd_N, {rows[0]});
  check.operand("weight", weight_C, {rows[1]}, Layout::kContiguous, type_of_weight(weight_C, dtype));
  check.operand("dweight", dweight_C, {rows[1]});
  if (mean_N) check.operand("dbias", dbias_C, {rows[1]});
  check.dropout(dropout);
  TRIREME_RUN(residual_norm_backward, stream)
  (dsum_NC, dbranch_NC, dweight_C, dbias_C, dy_NC, sum_NC, mean_N, rstd_N, weight_C, dropout, stream);
}

}  // namespace trireme
