#include "kernels/check.h"

#include <glog/logging.h>

namespace trireme {

void OperandCheck::operand(const char* operand, const Tensor& x, const Shape& shape, Layout layout,
                           DType dtype) const {
  CHECK(x || shape.num_elements() == 0)
      << op_ << ": " << operand << " is absent, " << shape.to_string() << " expected";
  CHECK(x.device() == device_) << op_ << " on " << device_.to_string() << ": " << operand
                               << " is in the memory of " << x.device().to_string();
  CHECK(x.dtype() == dtype) << op_ << ": " << operand << " is of " << name(x.dtype()) << ", " << name(dtype)
                            << " expected";
  CHECK(x.shape() == shape) << op_ << ": " << operand << " is " << x.shape().to_string() << ", "
                            << shape.to_string() << " expected";
  CHECK(layout == Layout::kStrided || x.is_contiguous())
      << op_ << ": rows of " << operand << " " << shape.to_string() << " lie apart, and may not";
}

DType OperandCheck::type_of_numbers(const char* operand, const Tensor& x) const {
  CHECK(x.dtype() == DType::kFloat32 || (x.dtype() == DType::kBfloat16 && !device_.is_cpu()))
      << op_ << " on " << device_.to_string() << ": " << operand << " is of " << name(x.dtype());
  return x.dtype();
}

void OperandCheck::dropout(const Dropout& dropout) const {
  CHECK(0.0F <= dropout.probability && dropout.probability < 1.0F)
      << op_ << ": dropout with probability " << dropout.probability;
  CHECK_EQ(dropout.offset % 4, 0U) << op_ << ": offset of dropout";
}

void OperandCheck::positions(const Tensor& positions_BT, const Shape& tokens, std::int64_t first_position,
                             std::int64_t num_positions) const {
  if (!positions_BT) {
    CHECK(first_position >= 0 && first_position + tokens[1] <= num_positions)
        << op_ << ": positions [" << first_position << ", " << first_position + tokens[1]
        << ") of a table of " << num_positions;
    return;
  }
  CHECK_EQ(first_position, 0) << op_ << ": a first position beside positions";
  operand("positions", positions_BT, tokens, Layout::kContiguous, DType::kInt32);
  if (!positions_BT.device().is_cpu()) return;
  const std::int32_t* const positions = positions_BT.data<std::int32_t>();
  for (std::int64_t i = 0; i < positions_BT.num_elements(); ++i) {
    CHECK(0 <= positions[i] && positions[i] < num_positions)
        << op_ << ": position " << positions[i] << " at " << i << ", of a table of " << num_positions;
  }
}

void OperandCheck::num_dims(const char* operand, const Tensor& x, int expected) const {
  CHECK_EQ(x.num_dims(), expected) << op_ << ": dimensions of " << operand << " " << x.shape().to_string();
}

}  // namespace trireme
