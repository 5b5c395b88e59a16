#include "kernels/reduce.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(accumulate_sum_of_differences)
TRIREME_DECLARE(accumulate_sum_of_squares)

void accumulate_sum_of_differences(Tensor result_1, Tensor a, Tensor b, Stream stream) {
  const OperandCheck check("accumulate_sum_of_differences", stream.device());
  check.operand("result", result_1, {1});
  check.operand("a", a, a.shape());
  check.operand("b", b, a.shape());
  TRIREME_RUN(accumulate_sum_of_differences, stream)(result_1, a, b, stream);
}

void accumulate_sum_of_squares(Tensor result_1, Tensor x, Stream stream) {
  const OperandCheck check("accumulate_sum_of_squares", stream.device());
  check.operand("result", result_1, {1});
  check.operand("x", x, x.shape(), Layout::kContiguous, check.type_of_numbers("x", x));
  TRIREME_RUN(accumulate_sum_of_squares, stream)(result_1, x, stream);
}

}  // namespace trireme
