#include "kernels/rope.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(rope_forward)
TRIREME_DECLARE_CPU(rope_backward)

namespace {

void check_rope(const OperandCheck& check, Tensor x_BTHD, Tensor cos_PD, Tensor sin_PD,
                std::int64_t first_position) {
  check.num_dims("x", x_BTHD, 4);
  check.num_dims("cos", cos_PD, 2);
  check.operand("x", x_BTHD, x_BTHD.shape(), Layout::kStrided);
  CHECK_EQ(x_BTHD.dim(3) % 2, 0) << "rope: width of a head";
  const Shape table = {cos_PD.dim(0), x_BTHD.dim(3) / 2};
  check.operand("cos", cos_PD, table);
  check.operand("sin", sin_PD, table);
  CHECK(first_position >= 0 && first_position + x_BTHD.dim(1) <= table[0])
      << "rope: positions [" << first_position << ", " << first_position + x_BTHD.dim(1) << ") of "
      << table[0];
}

}  // namespace

void rope_forward(Tensor x_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position, Stream stream) {
  check_rope(OperandCheck("rope_forward"), x_BTHD, cos_PD, sin_PD, first_position);
  TRIREME_CPU(rope_forward)(x_BTHD, cos_PD, sin_PD, first_position, stream);
}

void rope_backward(Tensor dx_BTHD, Tensor cos_PD, Tensor sin_PD, std::int64_t first_position, Stream stream) {
  check_rope(OperandCheck("rope_backward"), dx_BTHD, cos_PD, sin_PD, first_position);
  TRIREME_CPU(rope_backward)(dx_BTHD, cos_PD, sin_PD, first_position, stream);
}

}  // namespace trireme
