// Times on a CUDA device, and operands to take them with.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// Milliseconds of the work that one call gives to the stream: the median of `repetitions`, each of as many
// calls as hide the host's time, after a first one that isn't counted.  1: a single call.
double time_ms(const std::function<void()>& call, Stream stream, int repetitions);

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
