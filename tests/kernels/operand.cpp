#include "tests/kernels/operand.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "kernels/rng.h"
#include "kernels/threads.h"

namespace trireme {
namespace {

// Bits of NaNs that no arithmetic gives.
constexpr std::uint32_t kGuard = 0x7FC5A5A5;
constexpr std::uint16_t kNarrowGuard = 0x7FE5;
constexpr std::int64_t kGuardElements = 72;  // keeps the tensor at a multiple of 16 bytes

template <typename Word>
void fill_words(std::vector<std::byte>& bytes, Word word) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(Word)) std::memcpy(&bytes[i], &word, sizeof(Word));
}

}  // namespace

Device test_device() {
  static const Device device = [] {
    const char* const name = std::getenv("TRIREME_TEST_DEVICE");
    return name != nullptr && std::string_view(name) == "cuda" ? Device{DeviceType::kCuda, 0} : Device{};
  }();
  return device;
}

Stream test_stream() {
  static const DeviceStream stream(test_device());
  return stream;
}

Operand::Operand(const Shape& shape, const Shape& padded, DType dtype) {
  const Shape& whole = padded.num_dims() == 0 ? shape : padded;
  const std::int64_t element_bytes = size_bytes(dtype);
  host_.resize(static_cast<std::size_t>((whole.num_elements() + 2 * kGuardElements) * element_bytes));
  if (dtype == DType::kBfloat16) {
    fill_words(host_, kNarrowGuard);
  } else {
    fill_words(host_, kGuard);
  }
  tensor_ = Tensor(host_.data() + kGuardElements * element_bytes, dtype, whole);
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
  if (!test_device().is_cpu()) buffer_ = std::make_shared<Buffer>(std::ssize(host_), test_device());
}

Operand Operand::random(const Shape& shape, std::uint64_t seed, double scale, const Shape& padded,
                        DType dtype) {
  Operand result(shape, padded, dtype);
  for (std::int64_t i = 0; i < shape.num_elements(); ++i) {
    result.set(i, static_cast<float>(scale * normals(seed, static_cast<std::uint64_t>(
                                                               i / 4))[static_cast<std::size_t>(i % 4)]));
  }
  return result;
}

Operand Operand::poisoned(const Shape& shape, const Shape& padded, DType dtype) {
  Operand result(shape, padded, dtype);
  for (std::int64_t i = 0; i < shape.num_elements(); ++i)
    result.set(i, std::numeric_limits<float>::quiet_NaN());
  return result;
}

Operand Operand::of(const std::vector<float>& values) {
  Operand result({std::ssize(values)}, {}, DType::kFloat32);
  for (std::int64_t i = 0; i < std::ssize(values); ++i) result.set(i, values[static_cast<std::size_t>(i)]);
  return result;
}

Operand Operand::of(const reference::Tokens& values, const Shape& shape) {
  Operand result(shape, {}, DType::kInt32);
  for (std::int64_t i = 0; i < std::ssize(values); ++i) {
    result.element<std::int32_t>(i) = values[static_cast<std::size_t>(i)];
  }
  return result;
}

Operand Operand::zeros(const Shape& shape) {
  return random(shape, 0, 0.0);
}

template <typename T>
T& Operand::element(std::int64_t i) const {
  return reinterpret_cast<T*>(host_.data())[places_.at(static_cast<std::size_t>(i))];
}

Tensor Operand::tensor() const {
  if (!buffer_) {
    // Where this object lies now, which may be a copy of the first.
    const std::int64_t offset = kGuardElements * size_bytes(tensor_.dtype());
    return tensor_.moved_to(host_.data() + offset, {});
  }
  const Tensor device_bytes = buffer_->tensor(DType::kFloat32, {std::ssize(host_) / 4});
  if (is_changed_) {
    copy(device_bytes, Tensor(host_.data(), DType::kFloat32, device_bytes.shape()), test_stream());
    test_stream().synchronize();
    is_changed_ = false;
  }
  return tensor_.moved_to(
      static_cast<std::byte*>(buffer_->data()) + kGuardElements * size_bytes(tensor_.dtype()), test_device());
}

void Operand::set(std::int64_t i, float value) {
  if (tensor_.dtype() == DType::kBfloat16) {
    element<Bfloat16>(i) = Bfloat16(value);
  } else {
    element<float>(i) = value;
  }
  is_changed_ = true;
}

void Operand::download() const {
  if (!buffer_ || is_changed_) return;
  const Tensor device_bytes = buffer_->tensor(DType::kFloat32, {std::ssize(host_) / 4});
  copy(Tensor(host_.data(), DType::kFloat32, device_bytes.shape()), device_bytes, test_stream());
  test_stream().synchronize();
}

std::vector<float> Operand::floats() const {
  download();
  std::vector<float> values;
  for (std::int64_t i = 0; i < std::ssize(places_); ++i) {
    values.push_back(tensor_.dtype() == DType::kBfloat16 ? static_cast<float>(element<Bfloat16>(i))
                                                         : element<float>(i));
  }
  return values;
}

reference::Array Operand::doubles() const {
  const std::vector<float> values = floats();
  return {values.begin(), values.end()};
}

reference::Tokens Operand::tokens() const {
  download();
  reference::Tokens values;
  for (std::int64_t i = 0; i < std::ssize(places_); ++i) values.push_back(element<std::int32_t>(i));
  return values;
}

void Operand::expect_near(const reference::Array& expected, double tolerance, const char* what) const {
  expect_guards(what);
  const std::vector<float> values = floats();
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] == expected[i]) continue;  // infinities, too
    const double error = std::abs(static_cast<double>(values[i]) - expected[i]);
    // Written so that NaN fails.
    ASSERT_TRUE(error <= tolerance * (1.0 + std::abs(expected[i])))
        << what << "[" << i << "] of " << tensor_.shape().to_string() << " is " << values[i] << ", expected "
        << expected[i];
  }
}

void Operand::expect_guards(const char* what) const {
  download();
  const auto element_bytes = static_cast<std::size_t>(size_bytes(tensor_.dtype()));
  std::size_t next = 0;
  for (std::size_t i = 0; i < host_.size() / element_bytes; ++i) {
    if (next < places_.size() && static_cast<std::int64_t>(i) == places_[next]) {
      ++next;
      continue;
    }
    const void* const guard = element_bytes == 2 ? static_cast<const void*>(&kNarrowGuard) : &kGuard;
    ASSERT_EQ(std::memcmp(&host_[i * element_bytes], guard, element_bytes), 0)
        << what << ": memory outside of the tensor was written, at "
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
