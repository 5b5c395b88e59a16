// Operands on a device, to take times with.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/tensor.h"

namespace trireme {

// Hands out tensors on a device, contiguous, and has their memory.
class DeviceOperands {
 public:
  explicit DeviceOperands(Device device) : device_(device) {}

  Tensor zeros(DType dtype, const Shape& shape);
  // Normal numbers, which come again after some ten thousand.
  Tensor noise(DType dtype, const Shape& shape);
  // int32, all different if there are not more than `limit`.
  Tensor ids(const Shape& shape, std::int64_t limit);

 private:
  Tensor make(DType dtype, const Shape& shape);

  const Device device_;
  std::vector<Buffer> buffers_;
};

}  // namespace trireme
