// Memory for a step's tensors, laid out once.
#pragma once

#include <cstdint>

#include "kernels/buffer.h"
#include "kernels/tensor.h"

namespace trireme {

// Hands out tensors one after the other and takes back none, other than all since a mark.  A plan is run
// twice, first on a measuring arena (which gives tensors that must not be touched), then on one of the size
// measured:
//
//     Arena measure = Arena::measuring();
//     model.allocate(measure, batch);
//     Arena arena(measure.size_bytes());
//     model.allocate(arena, batch);
//
// Scratch that several layers share in turn is allocated between `mark()` and `release(mark)`.
class Arena {
 public:
  static Arena measuring(Device device = {});
  explicit Arena(std::int64_t size_bytes, Device device = {});

  Tensor allocate(DType dtype, Shape shape);
  // Sets all of it to 0, and returns when that is done.
  void zero() { buffer_.zero(); }
  std::int64_t mark() const { return used_bytes_; }
  void release(std::int64_t mark) { used_bytes_ = mark; }
  // The most that was in use at once.
  std::int64_t size_bytes() const { return peak_bytes_; }

 private:
  Arena() = default;

  Buffer buffer_;
  Device device_;
  bool measuring_ = false;
  std::int64_t used_bytes_ = 0;
  std::int64_t peak_bytes_ = 0;
};

}  // namespace trireme
