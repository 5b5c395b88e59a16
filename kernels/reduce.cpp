#include "kernels/reduce.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(accumulate_sum)
TRIREME_DECLARE_CPU(accumulate_sum_of_squares)

void accumulate_sum(Tensor result_1, Tensor x, Stream stream) {
  const OperandCheck check("accumulate_sum");
  check.operand("result", result_1, {1});
  check.operand("x", x, x.shape());
  TRIREME_CPU(accumulate_sum)(result_1, x, stream);
}

void accumulate_sum_of_squares(Tensor result_1, Tensor x, Stream stream) {
  const OperandCheck check("accumulate_sum_of_squares");
  check.operand("result", result_1, {1});
  check.operand("x", x, x.shape());
  TRIREME_CPU(accumulate_sum_of_squares)(result_1, x, stream);
}

}  // namespace trireme
