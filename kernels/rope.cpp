#include "kernels/rope.h"

#include <cmath>

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(rope_forward)
TRIREME_DECLARE(rope_backward)

namespace {

void check_rope(const OperandCheck& check, Tensor x_BTHD, Tensor cos_PR, Tensor sin_PR,
                std::int64_t first_position, Tensor positions_BT) {
  check.num_dims("x", x_BTHD, 4);
  check.num_dims("cos", cos_PR, 2);
  const std::int64_t width = x_BTHD.dim(3);
  const std::int64_t num_positions = cos_PR.dim(0);
  CHECK_EQ(width % 2, 0) << "rope: heads of width " << width << " have no halves";
  check.operand("x", x_BTHD, x_BTHD.shape(), Layout::kStrided, check.type_of_numbers("x", x_BTHD));
  check.operand("cos", cos_PR, {num_positions, width / 2});
  check.operand("sin", sin_PR, {num_positions, width / 2});
  check.positions(positions_BT, {x_BTHD.dim(0), x_BTHD.dim(1)}, first_position, num_positions);
}

}  // namespace

void rope_table(Tensor cos_PR, Tensor sin_PR, std::span<const double> frequencies, double amplitude) {
  const OperandCheck check("rope_table");
  check.num_dims("cos", cos_PR, 2);
  const Shape shape = {cos_PR.dim(0), std::ssize(frequencies)};
  check.operand("cos", cos_PR, shape);
  check.operand("sin", sin_PR, shape);
  float* cos = cos_PR.data<float>();
  float* sin = sin_PR.data<float>();
  for (std::int64_t position = 0; position < shape[0]; ++position) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      *cos++ = static_cast<float>(amplitude * std::cos(angle));
      *sin++ = static_cast<float>(amplitude * std::sin(angle));
    }
  }
}

void rope_forward(Tensor x_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                  Tensor positions_BT, Stream stream) {
  check_rope(OperandCheck("rope_forward", stream.device()), x_BTHD, cos_PR, sin_PR, first_position,
             positions_BT);
  TRIREME_RUN(rope_forward, stream)(x_BTHD, cos_PR, sin_PR, first_position, positions_BT, stream);
}

void rope_backward(Tensor dx_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                   Tensor positions_BT, Stream stream) {
  check_rope(OperandCheck("rope_backward", stream.device()), dx_BTHD, cos_PR, sin_PR, first_position,
             positions_BT);
  TRIREME_RUN(rope_backward, stream)(dx_BTHD, cos_PR, sin_PR, first_position, positions_BT, stream);
}

}  // namespace trireme
