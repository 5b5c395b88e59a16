#include "kernels/elementwise.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(fill)
TRIREME_DECLARE(accumulate)
TRIREME_DECLARE(copy)
TRIREME_DECLARE(convert)

void fill(Tensor x, float value, Stream stream) {
  const OperandCheck check("fill", stream.device());
  if (x.dtype() == DType::kInt32) {
    CHECK_EQ(value, 0.0F) << "fill: integers are filled with 0";
    x = Tensor(x.raw_data(), DType::kFloat32, x.shape(), x.device());  // of the same bits
  }
  check.operand("x", x, x.shape(), Layout::kContiguous, check.type_of_numbers("x", x));
  TRIREME_RUN(fill, stream)(x, value, stream);
}

void accumulate(Tensor y, Tensor x, Stream stream) {
  const OperandCheck check("accumulate", stream.device());
  const DType dtype = check.type_of_numbers("x", x);
  check.operand("y", y, x.shape(), Layout::kContiguous, dtype);
  check.operand("x", x, x.shape(), Layout::kContiguous, dtype);
  TRIREME_RUN(accumulate, stream)(y, x, stream);
}

void copy(Tensor y, Tensor x, Stream stream) {
  OperandCheck("copy", y.device()).operand("y", y, x.shape(), Layout::kStrided, x.dtype());
  OperandCheck("copy", x.device()).operand("x", x, x.shape(), Layout::kStrided, x.dtype());
  for (const Device side : {y.device(), x.device()}) {
    CHECK(side.is_cpu() || side == stream.device())
        << "copy: memory of " << side.to_string() << " by a stream of " << stream.device().to_string();
  }
  TRIREME_RUN(copy, stream)(y, x, stream);
}

void convert(Tensor y, Tensor x, Stream stream) {
  const OperandCheck check("convert", stream.device());
  const bool narrows = x.dtype() == DType::kFloat32;
  check.operand("x", x, x.shape(), Layout::kContiguous, narrows ? DType::kFloat32 : DType::kBfloat16);
  check.operand("y", y, x.shape(), Layout::kContiguous, narrows ? DType::kBfloat16 : DType::kFloat32);
  TRIREME_RUN(convert, stream)(y, x, stream);
}

}  // namespace trireme
