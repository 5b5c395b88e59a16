#include "tests/benchmarks/device_operands.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/rng.h"

namespace trireme {

Tensor DeviceOperands::make(DType dtype, const Shape& shape) {
  buffers_.emplace_back(shape.num_elements() * size_bytes(dtype), device_);
  return buffers_.back().tensor(dtype, shape);
}

Tensor DeviceOperands::zeros(DType dtype, const Shape& shape) {
  const Tensor x = make(dtype, shape);
  buffers_.back().zero();
  return x;
}

Tensor DeviceOperands::noise(DType dtype, const Shape& shape) {
  // No power of two, so that rows of a matrix differ.
  constexpr std::int64_t kPeriod = 4 * 17011;
  const std::int64_t count = std::min(kPeriod, shape.num_elements());
  std::vector<float> values(static_cast<std::size_t>((count + 3) / 4 * 4));
  for (std::size_t i = 0; i < values.size(); i += 4) {
    std::ranges::copy(normals(buffers_.size(), i / 4), values.begin() + static_cast<std::ptrdiff_t>(i));
  }
  std::vector<Bfloat16> rounded(values.begin(), values.end());
  void* const data = dtype == DType::kFloat32 ? static_cast<void*>(values.data()) : rounded.data();
  const Tensor period(data, dtype, {count});

  const Tensor x = make(dtype, shape);
  const Tensor flat = x.view({x.num_elements()});
  const DeviceStream stream(device_);
  for (std::int64_t begin = 0; begin < x.num_elements(); begin += count) {
    const std::int64_t end = std::min(begin + count, x.num_elements());
    copy(flat.slice(0, begin, end), period.slice(0, 0, end - begin), stream);
  }
  Stream(stream).synchronize();
  return x;
}

Tensor DeviceOperands::ids(const Shape& shape, std::int64_t limit) {
  constexpr std::int64_t kStep = 7919;  // a prime, that ids which follow each other lie apart
  std::vector<std::int32_t> values(static_cast<std::size_t>(shape.num_elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) * kStep % limit);
  }
  const Tensor x = make(DType::kInt32, shape);
  const DeviceStream stream(device_);
  copy(x, Tensor(values.data(), DType::kInt32, shape), stream);
  Stream(stream).synchronize();
  return x;
}

}  // namespace trireme
