#include "kernels/adamw.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(adamw_step)

void adamw_step(Tensor param, Tensor m, Tensor v, Tensor grad, Tensor gradient_scale,
                const AdamWOptions& options, Stream stream) {
  const OperandCheck check("adamw_step", stream.device());
  const Shape flat = {param.num_elements()};
  check.operand("param", param, flat);
  check.operand("m", m, flat);
  check.operand("v", v, flat);
  check.operand("grad", grad, flat);
  check.operand("gradient_scale", gradient_scale, {1});
  CHECK_GE(options.step, 1) << "adamw_step: steps count from 1";
  TRIREME_RUN(adamw_step, stream)(param, m, v, grad, gradient_scale, options, stream);
}

}  // namespace trireme
