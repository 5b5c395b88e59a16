#include "kernels/elementwise.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/cuda/runtime.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE_CPU(fill)
TRIREME_DECLARE_CPU(copy)
TRIREME_DECLARE_CPU(accumulate)

namespace {

// Between devices, or on a CUDA device.  Rows that lie evenly are one transfer; `x` and `y` of more
// dimensions are copied by those of their first one.
void copy_by_device(Tensor y, Tensor x, Stream stream) {
  if constexpr (kHasCuda) {
    if (x.is_contiguous() && y.is_contiguous()) {
      const std::int64_t bytes = x.num_elements() * size_bytes(x.dtype());
      cuda::copy_rows(y.raw_data(), bytes, x.raw_data(), bytes, bytes, 1, *stream.cuda());
    } else if (x.num_dims() == 2) {
      const std::int64_t bytes = size_bytes(x.dtype());
      cuda::copy_rows(y.raw_data(), y.stride(0) * bytes, x.raw_data(), x.stride(0) * bytes, x.dim(1) * bytes,
                      x.dim(0), *stream.cuda());
    } else {
      for (std::int64_t i = 0; i < x.dim(0); ++i) {
        copy_by_device(y.slice(0, i, i + 1).squeeze(0), x.slice(0, i, i + 1).squeeze(0), stream);
      }
    }
  }
}

}  // namespace

void fill(Tensor x, float value, Stream stream) {
  OperandCheck("fill").operand("x", x, x.shape());
  TRIREME_CPU(fill)(x, value, stream);
}

void accumulate(Tensor y, Tensor x, Stream stream) {
  const OperandCheck check("accumulate");
  check.operand("y", y, x.shape());
  check.operand("x", x, x.shape());
  TRIREME_CPU(accumulate)(y, x, stream);
}

void copy(Tensor y, Tensor x, Stream stream) {
  OperandCheck("copy", y.device()).operand("y", y, x.shape(), Layout::kStrided, x.dtype());
  OperandCheck("copy", x.device()).operand("x", x, x.shape(), Layout::kStrided, x.dtype());
  for (const Device side : {y.device(), x.device()}) {
    CHECK(side.is_cpu() || side == stream.device())
        << "copy: memory of " << side.to_string() << " by a stream of " << stream.device().to_string();
  }
  if (stream.device().is_cpu()) {
    TRIREME_CPU(copy)(y, x, stream);
  } else {
    copy_by_device(y, x, stream);
  }
}

}  // namespace trireme
