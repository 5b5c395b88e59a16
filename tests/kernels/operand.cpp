#include "tests/kernels/operand.h"

#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/rng.h"
#include "kernels/threads.h"

namespace trireme {
namespace {

constexpr std::uint32_t kGuard = 0x7FC5A5A5;  // a NaN that no arithmetic gives
constexpr std::int64_t kGuardElements = 67;

bool is_guard(float x) {
  return std::bit_cast<std::uint32_t>(x) == kGuard;
}

}  // namespace

Operand::Operand(const Shape& shape, const Shape& padded) {
  const Shape& whole = padded.num_dims() == 0 ? shape : padded;
  memory_.assign(static_cast<std::size_t>(whole.num_elements() + 2 * kGuardElements),
                 std::bit_cast<float>(kGuard));
  tensor_ = Tensor(memory_.data() + kGuardElements, DType::kFloat32, whole);
  for (int dim = 0; dim < shape.num_dims(); ++dim) tensor_ = tensor_.slice(dim, 0, shape[dim]);
  for (std::int64_t i = 0; i < shape.num_elements(); ++i) {
    std::int64_t rest = i;
    std::int64_t place = kGuardElements;
    for (int dim = shape.num_dims() - 1; dim >= 0; --dim) {
      place += rest % shape[dim] * tensor_.stride(dim);
      rest /= shape[dim];
    }
    places_.push_back(place);
  }
}

Operand Operand::random(const Shape& shape, std::uint64_t seed, double scale, const Shape& padded) {
  Operand result(shape, padded);
  for (std::int64_t i = 0; i < shape.num_elements(); ++i) {
    result.set(i, static_cast<float>(scale * normals(seed, static_cast<std::uint64_t>(
                                                               i / 4))[static_cast<std::size_t>(i % 4)]));
  }
  return result;
}

Operand Operand::poisoned(const Shape& shape, const Shape& padded) {
  Operand result(shape, padded);
  for (std::int64_t i = 0; i < shape.num_elements(); ++i)
    result.set(i, std::numeric_limits<float>::quiet_NaN());
  return result;
}

Operand Operand::of(const std::vector<float>& values) {
  Operand result({std::ssize(values)}, {});
  for (std::int64_t i = 0; i < std::ssize(values); ++i) result.set(i, values[static_cast<std::size_t>(i)]);
  return result;
}

Operand Operand::zeros(const Shape& shape) {
  return random(shape, 0, 0.0);
}

void Operand::set(std::int64_t i, float value) {
  memory_.at(static_cast<std::size_t>(places_.at(static_cast<std::size_t>(i)))) = value;
}

std::vector<float> Operand::floats() const {
  std::vector<float> values;
  for (const std::int64_t place : places_) values.push_back(memory_[static_cast<std::size_t>(place)]);
  return values;
}

reference::Array Operand::doubles() const {
  const std::vector<float> values = floats();
  return {values.begin(), values.end()};
}

void Operand::expect_near(const reference::Array& expected, double tolerance, const char* what) const {
  expect_guards(what);
  const std::vector<float> values = floats();
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = std::abs(static_cast<double>(values[i]) - expected[i]);
    // Written so that NaN fails.
    ASSERT_TRUE(error <= tolerance * (1.0 + std::abs(expected[i])))
        << what << "[" << i << "] of " << tensor_.shape().to_string() << " is " << values[i] << ", expected "
        << expected[i];
  }
}

void Operand::expect_guards(const char* what) const {
  std::size_t next = 0;
  for (std::size_t i = 0; i < memory_.size(); ++i) {
    if (next < places_.size() && static_cast<std::int64_t>(i) == places_[next]) {
      ++next;
      continue;
    }
    ASSERT_TRUE(is_guard(memory_[i])) << what << ": memory outside of the tensor was written, at "
                                      << static_cast<std::int64_t>(i) - kGuardElements;
  }
}

reference::Tokens random_tokens(std::int64_t count, std::int32_t limit, std::uint64_t seed) {
  reference::Tokens tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = philox(seed, static_cast<std::uint64_t>(i))[0];
    tokens.push_back(static_cast<std::int32_t>(bits % static_cast<std::uint32_t>(limit)));
  }
  return tokens;
}

Tensor as_tensor(reference::Tokens& tokens, const Shape& shape) {
  return {tokens.data(), DType::kInt32, shape};
}

void expect_same_for_any_threads(const std::function<std::vector<float>()>& compute) {
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<float> expected = compute();
  for (const int threads : {2, 3, 2}) {
    set_num_threads(threads);
    const std::vector<float> values = compute();
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(expected[i]))
          << "element " << i << " with " << threads << " threads";
    }
  }
  set_num_threads(before);
}

}  // namespace trireme
