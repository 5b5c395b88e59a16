// Tensors for tests: random or poisoned elements, rows that may lie apart, guards around everything.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/tensor.h"
#include "tests/reference/array.h"

namespace trireme {

// Owns memory for one float32 tensor.  All of it that is no element of the tensor (before, after, between
// rows) holds a bit pattern that no op may change.
class Operand {
 public:
  // Elements are drawn from the normal distribution, the same for the same seed.  The tensor is the corner of
  // a contiguous one of shape `padded`, where that is given.
  static Operand random(const Shape& shape, std::uint64_t seed, double scale = 1.0, const Shape& padded = {});
  // Elements are NaN: an op that should write them all and doesn't is found out.
  static Operand poisoned(const Shape& shape, const Shape& padded = {});
  static Operand of(const std::vector<float>& values);
  static Operand zeros(const Shape& shape);

  Tensor tensor() const { return tensor_; }
  operator Tensor() const { return tensor_; }
  void set(std::int64_t i, float value);

  // Elements in row-major order.
  std::vector<float> floats() const;
  reference::Array doubles() const;

  // EXPECTs that |x - expected| <= tolerance (1 + |expected|) for every element, and that the guards are
  // whole.
  void expect_near(const reference::Array& expected, double tolerance, const char* what) const;
  void expect_guards(const char* what) const;

 private:
  Operand(const Shape& shape, const Shape& padded);

  std::vector<float> memory_;
  std::vector<std::int64_t> places_;  // of the elements in memory_, row-major
  Tensor tensor_;
};

// Token ids below `limit`, the same for the same seed.
reference::Tokens random_tokens(std::int64_t count, std::int32_t limit, std::uint64_t seed);
Tensor as_tensor(reference::Tokens& tokens, const Shape& shape);

// Runs `compute` with 1, 2 and 3 threads, and with 2 again, and EXPECTs results equal to the last bit.
void expect_same_for_any_threads(const std::function<std::vector<float>()>& compute);

}  // namespace trireme
