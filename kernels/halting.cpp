#include "kernels/halting.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(halting_forward)
TRIREME_DECLARE(halting_backward)
TRIREME_DECLARE(ponder_loss)

void halting_forward(Tensor mean_NC, Tensor state_NC, Tensor weight_N, Tensor remainder_N, Tensor loops_N,
                     Tensor previous_NC, Tensor logit_N, const HaltingOptions& options, Stream stream) {
  const OperandCheck check("halting_forward", stream.device());
  const DType dtype = check.type_of_numbers("state", state_NC);
  check.num_dims("state", state_NC, 2);
  const std::int64_t n = state_NC.dim(0);
  check.operand("mean", mean_NC, state_NC.shape(), Layout::kContiguous, dtype);
  check.operand("state", state_NC, state_NC.shape(), Layout::kContiguous, dtype);
  check.operand("weight", weight_N, {n});
  check.operand("remainder", remainder_N, {n});
  check.operand("loops", loops_N, {n}, Layout::kContiguous, DType::kInt32);
  check.operand("logit", logit_N, {n}, Layout::kContiguous, dtype);
  CHECK(0 <= options.loop && options.loop < options.num_loops)
      << "halting_forward: loop " << options.loop << " of " << options.num_loops;
  if (options.loop > 0) check.operand("previous", previous_NC, state_NC.shape(), Layout::kContiguous, dtype);
  TRIREME_RUN(halting_forward, stream)
  (mean_NC, state_NC, weight_N, remainder_N, loops_N, previous_NC, logit_N, options, stream);
}

void halting_backward(Tensor dlogit_N, Tensor dremainder_N, Tensor dstate_NC, Tensor dprevious_NC,
                      Tensor dmean_NC, Tensor dponder_N, Tensor state_NC, Tensor weight_N, Tensor loops_N,
                      std::int64_t loop, Stream stream) {
  const OperandCheck check("halting_backward", stream.device());
  const DType dtype = check.type_of_numbers("state", state_NC);
  check.num_dims("state", state_NC, 2);
  const Shape rows = {state_NC.dim(0)};
  check.operand("dlogit", dlogit_N, rows, Layout::kContiguous, dtype);
  check.operand("dremainder", dremainder_N, rows);
  check.operand("dstate", dstate_NC, state_NC.shape(), Layout::kContiguous, dtype);
  check.operand("dprevious", dprevious_NC, state_NC.shape(), Layout::kContiguous, dtype);
  check.operand("dmean", dmean_NC, state_NC.shape(), Layout::kContiguous, dtype);
  check.operand("dponder", dponder_N, rows);
  check.operand("state", state_NC, state_NC.shape(), Layout::kContiguous, dtype);
  check.operand("weight", weight_N, rows);
  check.operand("loops", loops_N, rows, Layout::kContiguous, DType::kInt32);
  TRIREME_RUN(halting_backward, stream)
  (dlogit_N, dremainder_N, dstate_NC, dprevious_NC, dmean_NC, dponder_N, state_NC, weight_N, loops_N, loop,
   stream);
}

void ponder_loss(Tensor loss_1, Tensor dponder_N, Tensor remainder_N, Tensor loops_N, Tensor counted_N,
                 float cost, float scale, Stream stream) {
  const OperandCheck check("ponder_loss", stream.device());
  const Shape rows = remainder_N.shape();
  check.num_dims("remainder", remainder_N, 1);
  check.operand("loss", loss_1, {1});
  check.operand("dponder", dponder_N, rows);
  check.operand("remainder", remainder_N, rows);
  check.operand("loops", loops_N, rows, Layout::kContiguous, DType::kInt32);
  check.operand("counted", counted_N, rows, Layout::kContiguous, DType::kInt32);
  TRIREME_RUN(ponder_loss, stream)(loss_1, dponder_N, remainder_N, loops_N, counted_N, cost, scale, stream);
}

}  // namespace trireme
