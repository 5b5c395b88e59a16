#include "kernels/padding.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(mark_padding)

void mark_padding(Tensor marks_BS, Tensor lengths_B, std::int32_t padding, Stream stream) {
  const OperandCheck check("mark_padding", stream.device());
  check.num_dims("marks", marks_BS, 2);
  check.operand("marks", marks_BS, marks_BS.shape(), Layout::kContiguous, DType::kInt32);
  check.operand("lengths", lengths_B, {marks_BS.dim(0)}, Layout::kContiguous, DType::kInt32);
  TRIREME_RUN(mark_padding, stream)(marks_BS, lengths_B, padding, stream);
}

}  // namespace trireme
