#include "kernels/arena.h"

#include <algorithm>

#include <glog/logging.h>

namespace trireme {
namespace {

constexpr std::int64_t kAlignment = 64;

}  // namespace

Arena Arena::measuring(Device device) {
  Arena arena;
  arena.device_ = device;
  arena.measuring_ = true;
  return arena;
}

Arena::Arena(std::int64_t size_bytes, Device device) : buffer_(size_bytes, device), device_(device) {}

Tensor Arena::allocate(DType dtype, Shape shape) {
  const std::int64_t begin = used_bytes_;
  const std::int64_t wanted = shape.num_elements() * trireme::size_bytes(dtype);
  used_bytes_ += (wanted + kAlignment - 1) / kAlignment * kAlignment;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  if (measuring_) return {};
  CHECK_LE(used_bytes_, buffer_.size_bytes()) << "the arena was measured for less";
  return buffer_.tensor(dtype, shape, begin);
}

}  // namespace trireme
