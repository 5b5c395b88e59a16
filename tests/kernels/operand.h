// Tensors for tests: random or poisoned elements, rows that may lie apart, guards around everything.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "tests/reference/array.h"

namespace trireme {

// The device that tests run on: the CPU, or the first CUDA device where TRIREME_TEST_DEVICE=cuda.
Device test_device();
// A stream of it, which lives as long as the process.
Stream test_stream();

// Owns memory of the test's device for one tensor.  All of it that is no element of the tensor (before,
// after, between rows) holds a bit pattern that no op may change.
class Operand {
 public:
  // Elements are drawn from the normal distribution, the same for the same seed, and rounded to the type. The
  // tensor is the corner of a contiguous one of shape `padded`, where that is given.
  static Operand random(const Shape& shape, std::uint64_t seed, double scale = 1.0, const Shape& padded = {},
                        DType dtype = DType::kFloat32);
  // Elements are NaN: an op that should write them all and doesn't is found out.
  static Operand poisoned(const Shape& shape, const Shape& padded = {}, DType dtype = DType::kFloat32);
  static Operand of(const std::vector<float>& values);
  static Operand of(const reference::Tokens& values, const Shape& shape);
  static Operand zeros(const Shape& shape);

  // What is set() afterwards is seen by tensors taken after that.
  Tensor tensor() const;
  operator Tensor() const { return tensor(); }
  void set(std::int64_t i, float value);

  // Elements in row-major order, once the work of the test's stream is done.
  std::vector<float> floats() const;
  reference::Array doubles() const;
  reference::Tokens tokens() const;  // of int32

  // EXPECTs that |x - expected| <= tolerance (1 + |expected|) for every element, and that the guards are
  // whole.
  void expect_near(const reference::Array& expected, double tolerance, const char* what) const;
  void expect_guards(const char* what) const;

 private:
  Operand(const Shape& shape, const Shape& padded, DType dtype);
  template <typename T>
  T& element(std::int64_t i) const;
  void download() const;

  // Host memory; on another device a copy of what lies there.
  mutable std::vector<std::byte> host_;
  std::shared_ptr<Buffer> buffer_;    // on another device; copies of an operand share it
  mutable bool is_changed_ = true;    // the host's copy, since it was sent
  std::vector<std::int64_t> places_;  // of the elements, row-major, counted from the first guard
  Tensor tensor_;                     // over host_
};

// Token ids below `limit`, the same for the same seed.
reference::Tokens random_tokens(std::int64_t count, std::int32_t limit, std::uint64_t seed);
Tensor as_tensor(reference::Tokens& tokens, const Shape& shape);

// Runs `compute` with 1, 2 and 3 threads, and with 2 again, and EXPECTs results equal to the last bit.
void expect_same_for_any_threads(const std::function<std::vector<float>()>& compute);

}  // namespace trireme
