#include "kernels/reduce.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(accumulate_sum_of_differences)
TRIREME_DECLARE_CPU(accumulate_sum_of_squares)

void accumulate_sum_of_differences(Tensor result_1, Tensor a, Tensor b, Stream stream) {
  const OperandCheck check("accumulate_sum_of_differences");
  check.operand("result", result_1, {1});
  check.operand("a", a, a.shape());
  check.operand("b", b, a.shape());
  TRIREME_CPU(accumulate_sum_of_differences)(result_1, a, b, stream);
}

void accumulate_sum_of_squares(Tensor result_1, Tensor x, Stream stream) {
  const OperandCheck check("accumulate_sum_of_squares");
  check.operand("result", result_1, {1});
  check.operand("x", x, x.shape());
  TRIREME_CPU(accumulate_sum_of_squares)(result_1, x, stream);
}

}  // namespace trireme
