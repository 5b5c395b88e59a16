// Copies of rows that lie apart: between host and device, and on the device, by words of every size.
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "tests/kernels/operand.h"

namespace trireme {
namespace {

// A tensor that is part of a larger one: `begin` elements are left out at the start of every dimension,
// `padding` at its end.
struct Case {
  Shape shape;
  Shape begin;
  Shape padding;
};

const Case kCases[] = {
    {{7}, {3}, {0}},
    {{5, 8}, {0, 4}, {1, 4}},            // 16 bytes at a time
    {{5, 8}, {1, 2}, {0, 2}},            // 4, of bf16
    {{5, 8}, {0, 1}, {0, 4}},            // one number
    {{3, 1, 16}, {0, 2, 0}, {0, 1, 0}},  // a dimension of size 1
    {{2, 3, 4, 8}, {1, 0, 0, 0}, {0, 1, 0, 8}},
    {{2, 3, 4, 8}, {0, 0, 0, 0}, {0, 0, 2, 0}},  // inner dimensions are one run
    {{2, 3, 4, 8}, {0, 0, 0, 0}, {0, 0, 0, 0}},
    {{2, 3, 2, 3, 4}, {0, 1, 0, 1, 0}, {1, 0, 1, 0, 4}},
    {{300, 3, 40}, {0, 0, 8}, {0, 1, 0}},
    {{2, 600}, {0, 1}, {0, 0}},
    {{700, 1}, {0, 0}, {0, 2}},
};

// Copies of bit patterns, so that the type is but the size of an element.
template <typename T>
class Strided {
 public:
  explicit Strided(const Case& c, DType dtype, bool is_source) : case_(c), whole_(c.shape) {
    for (int dim = 0; dim < whole_.num_dims(); ++dim) whole_[dim] += c.begin[dim] + c.padding[dim];
    for (std::int64_t i = 0; i < whole_.num_elements(); ++i)
      values_.push_back(is_source ? static_cast<T>(i * 77 + 1) : T{0});
    host_ = Tensor(values_.data(), dtype, whole_);
  }

  Tensor on_host() const { return part(host_); }
  // Copies all of it there.
  Tensor on_device(const Buffer& buffer) const {
    const Tensor there = buffer.tensor(host_.dtype(), whole_);
    copy(there, host_, test_stream());
    return part(there);
  }
  void download(const Buffer& buffer) {
    copy(host_, buffer.tensor(host_.dtype(), whole_), test_stream());
    test_stream().synchronize();
  }
  std::int64_t size_bytes() const { return whole_.num_elements() * static_cast<std::int64_t>(sizeof(T)); }

  // EXPECTs that the part is that of `source`, and that all else is still 0.
  void expect_copy_of(const Strided& source) const {
    std::vector<T> expected(values_.size());
    const std::vector<std::size_t> places = this->places(), source_places = source.places();
    for (std::size_t i = 0; i < places.size(); ++i) expected[places[i]] = source.values_[source_places[i]];
    for (std::size_t i = 0; i < values_.size(); ++i)
      ASSERT_EQ(values_[i], expected[i]) << i << " of " << whole_.to_string();
  }

 private:
  // Of the part's elements, in order.
  std::vector<std::size_t> places() const {
    std::vector<std::size_t> places;
    for (std::int64_t i = 0; i < case_.shape.num_elements(); ++i) {
      std::int64_t rest = i, place = 0, stride = 1;
      for (int dim = whole_.num_dims() - 1; dim >= 0; --dim) {
        place += (rest % case_.shape[dim] + case_.begin[dim]) * stride;
        rest /= case_.shape[dim];
        stride *= whole_[dim];
      }
      places.push_back(static_cast<std::size_t>(place));
    }
    return places;
  }
  Tensor part(Tensor x) const {
    for (int dim = 0; dim < whole_.num_dims(); ++dim)
      x = x.slice(dim, case_.begin[dim], case_.begin[dim] + case_.shape[dim]);
    return x;
  }

  Case case_;
  Shape whole_;
  std::vector<T> values_;
  Tensor host_;
};

template <typename T>
void check(const Case& from, const Case& to, DType dtype) {
  SCOPED_TRACE(testing::Message() << name(dtype) << " " << from.shape.to_string() << ": from "
                                  << from.begin.to_string() << " padded by " << from.padding.to_string()
                                  << ", to " << to.begin.to_string() << " padded by "
                                  << to.padding.to_string());
  const Strided<T> source(from, dtype, true);
  const Buffer source_there(source.size_bytes(), test_device());
  const Tensor source_on_device = source.on_device(source_there);

  Strided<T> on_device(to, dtype, false);
  const Buffer there(on_device.size_bytes(), test_device());
  copy(on_device.on_device(there), source_on_device, test_stream());
  on_device.download(there);
  on_device.expect_copy_of(source);

  Strided<T> sent(to, dtype, false);
  copy(sent.on_device(there), source.on_host(), test_stream());
  sent.download(there);
  sent.expect_copy_of(source);

  const Strided<T> fetched(to, dtype, false);
  copy(fetched.on_host(), source_on_device, test_stream());
  test_stream().synchronize();
  fetched.expect_copy_of(source);
}

TEST(CudaCopy, RowsMayLieApartOnEitherSide) {
  for (const Case& from : kCases) {
    for (const Case& to : kCases) {
      if (from.shape != to.shape) continue;
      check<std::uint32_t>(from, to, DType::kInt32);
      check<std::uint16_t>(from, to, DType::kBfloat16);
    }
  }
}

}  // namespace
}  // namespace trireme
