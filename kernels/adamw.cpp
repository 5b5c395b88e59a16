#include "kernels/adamw.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(begin_update)
TRIREME_DECLARE(adamw_step)

void begin_update(Tensor factors, Tensor counts, Tensor norm_1, Tensor sum_of_squares_1, Tensor loss_1,
                  float max_norm, std::int64_t step, const AdamWOptions& options, Stream stream) {
  const OperandCheck check("begin_update", stream.device());
  check.operand("factors", factors, {kNumAdamWFactors});
  check.operand("counts", counts, {kNumUpdateCounts}, Layout::kContiguous, DType::kInt32);
  check.operand("norm", norm_1, {1});
  check.operand("sum_of_squares", sum_of_squares_1, {1});
  check.operand("loss", loss_1, {1});
  TRIREME_RUN(begin_update, stream)
  (factors, counts, norm_1, sum_of_squares_1, loss_1, max_norm, step, options, stream);
}

void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWOptions& options, Stream stream) {
  const OperandCheck check("adamw_step", stream.device());
  const Shape flat = {param.num_elements()};
  check.operand("param", param, flat);
  check.optional("rounded", rounded, flat, Layout::kContiguous, DType::kBfloat16);
  check.operand("m", m, flat);
  check.operand("v", v, flat);
  check.operand("grad", grad, flat);
  check.operand("factors", factors, {kNumAdamWFactors});
  TRIREME_RUN(adamw_step, stream)(param, rounded, m, v, grad, factors, options, stream);
}

}  // namespace trireme
