// What every op checks of its operands before any arithmetic.  Internal to kernels/.
#pragma once

#include "kernels/dropout.h"
#include "kernels/dtype.h"
#include "kernels/tensor.h"

namespace trireme {

// How an operand may lie in memory.
enum class Layout {
  kContiguous,
  kStrided,  // any strides but the last, which is 1
};

// CHECKs operands of one op; a failure names the op, the operand, what it is and what was expected.
class OperandCheck {
 public:
  // Of an op that runs on `device`: where all operands must lie.
  explicit OperandCheck(const char* op, Device device = {}) : op_(op), device_(device) {}

  void operand(const char* operand, const Tensor& x, const Shape& shape, Layout layout = Layout::kContiguous,
               DType dtype = DType::kFloat32) const;
  // As `operand`, unless x is empty.
  void optional(const char* operand, const Tensor& x, const Shape& shape, Layout layout = Layout::kContiguous,
                DType dtype = DType::kFloat32) const {
    if (x) this->operand(operand, x, shape, layout, dtype);
  }
  // The type that x has and the op's other numbers are to have: float32, on a CUDA device also bfloat16.
  DType type_of_numbers(const char* operand, const Tensor& x) const;
  void dropout(const Dropout& dropout) const;
  // Rows of a table of `num_positions`, which tokens [B, T] take: those from first_position on, or where they
  // are given positions[B, T] (int32), which are looked at in the CPU's memory only.
  void positions(const Tensor& positions_BT, const Shape& tokens, std::int64_t first_position,
                 std::int64_t num_positions) const;
  void num_dims(const char* operand, const Tensor& x, int expected) const;

 private:
  const char* op_;
  Device device_;
};

}  // namespace trireme
