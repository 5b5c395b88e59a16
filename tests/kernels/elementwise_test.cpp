// Elementwise ops, reductions and dropout: what works on flat memory.
#include "kernels/elementwise.h"

#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/dropout.h"
#include "kernels/reduce.h"
#include "tests/kernels/operand.h"
#include "tests/reference/dropout.h"

namespace trireme {
namespace {

TEST(Fill, WritesAllAndNoMore) {
  for (const std::int64_t n : {1, 31, 65537, 150001}) {
    const Operand x = Operand::poisoned({n});
    fill(x, 2.5F, test_stream());
    x.expect_near(reference::Array(static_cast<std::size_t>(n), 2.5), 0.0, "x");
  }
}

TEST(Accumulate, Adds) {
  for (const std::int64_t n : {1, 31, 150001}) {
    const Operand x = Operand::random({n}, 1);
    const Operand y = Operand::random({n}, 2);
    const reference::Array xs = x.doubles();
    reference::Array expected = y.doubles();
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += xs[i];
    accumulate(y, x, test_stream());
    y.expect_near(expected, 1e-7, "y");
  }
}

TEST(Copy, RowsMayLieApart) {
  for (const Shape& shape : {Shape{7}, Shape{1, 1}, Shape{5, 3}, Shape{2, 3, 4, 5}, Shape{300, 1, 700}}) {
    Shape padded = shape;
    for (int dim = 0; dim < shape.num_dims(); ++dim) padded[dim] += dim + 1;
    const Operand x = Operand::random(shape, 1, 1.0, padded);
    const Operand y = Operand::poisoned(shape, shape.num_dims() > 1 ? padded : Shape());
    copy(y, x, test_stream());
    y.expect_near(x.doubles(), 0.0, "y");
    const Operand dense = Operand::poisoned(shape);
    copy(dense, y, test_stream());
    dense.expect_near(x.doubles(), 0.0, "dense");
  }
}

// To bfloat16 and back, from places that are aligned and that are not.
TEST(Convert, RoundsToNearest) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::int64_t n : {0, 1, 7, 4099, 70001}) {
    for (const std::int64_t first : {0, 1}) {
      SCOPED_TRACE(testing::Message() << n << " from " << first);
      Operand wide = Operand::random({n + first}, 1);
      // Ties go to even; the largest float is beyond the largest bfloat16.
      const float special[] = {1.00390625F, 1.01171875F, -inf, 3.4028235e38F, 1e-40F, -0.0F};
      for (std::int64_t i = 0; i < 6 && n > 4000; ++i)
        wide.set(first + i, special[static_cast<std::size_t>(i)]);
      const Operand narrow = Operand::poisoned({n + first}, {}, DType::kBfloat16);
      const Operand back = Operand::poisoned({n + first});
      const auto part = [=](Tensor x) { return x.slice(0, first, first + n); };
      convert(part(narrow), part(wide), test_stream());
      convert(part(back), part(narrow), test_stream());
      const std::vector<float> from = wide.floats(), rounded = narrow.floats(), again = back.floats();
      for (std::size_t i = static_cast<std::size_t>(first); i < from.size(); ++i) {
        EXPECT_EQ(rounded[i], static_cast<float>(Bfloat16(from[i]))) << from[i];
        EXPECT_EQ(again[i], rounded[i]);
      }
      narrow.expect_guards("narrow");
      back.expect_guards("back");
      if (first == 1) {  // what lies before is as it was
        EXPECT_TRUE(std::isnan(rounded[0]) && std::isnan(again[0]));
      }
    }
  }
}

TEST(Convert, NanStaysOne) {
  // Its lower half alone says what it is.
  const Operand wide = Operand::of({std::bit_cast<float>(0x7F800001U), std::bit_cast<float>(0xFFFFFFFFU)});
  const Operand narrow = Operand::poisoned({2}, {}, DType::kBfloat16), back = Operand::zeros({2});
  convert(narrow, wide, test_stream());
  convert(back, narrow, test_stream());
  for (const float x : back.floats()) EXPECT_TRUE(std::isnan(x));
}

TEST(ConvertDeathTest, BetweenTwoTypes) {
  const Operand x = Operand::zeros({3});
  EXPECT_DEATH(convert(x, x, test_stream()), "convert: y is of float32, bfloat16 expected");
}

TEST(Reduce, AddsToTheResult) {
  for (const std::int64_t n : {1, 15, 17, 32768, 100003}) {
    const Operand x = Operand::random({n}, 1);
    const Operand y = Operand::random({n}, 2);
    double differences = 3.0;
    double squares = 3.0;
    const reference::Array xs = x.doubles();
    const reference::Array ys = y.doubles();
    for (std::size_t i = 0; i < xs.size(); ++i) {
      differences += xs[i] - ys[i];
      squares += xs[i] * xs[i];
    }
    const Operand result = Operand::of({3.0F});
    accumulate_sum_of_differences(result, x, y, test_stream());
    result.expect_near({differences}, 2e-7, "sum of differences");
    const Operand result_of_squares = Operand::of({3.0F});
    accumulate_sum_of_squares(result_of_squares, x, test_stream());
    result_of_squares.expect_near({squares}, 2e-7, "sum of squares");
  }
}

// Ones that floats would lose beside 2^24.
TEST(Reduce, SumsInDouble) {
  std::vector<float> values(200000, 1.0F);
  values[0] = 0x1.0p26F;
  values[1] = -0x1.0p26F;
  const Operand result = Operand::of({0.0F});
  accumulate_sum_of_differences(result, Operand::of(values), Operand::zeros({200000}), test_stream());
  EXPECT_EQ(result.floats()[0], 199998.0F);
}

TEST(Reduce, SeesNanAndInf) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), 1e38F}) {
    Operand x = Operand::random({70000}, 1);
    x.set(69999, bad);
    const Operand result = Operand::of({0.0F});
    accumulate_sum_of_squares(result, x, test_stream());
    EXPECT_FALSE(std::isfinite(result.floats()[0])) << bad;
  }
}

TEST(Reduce, IsTheSameForAnyThreads) {
  const Operand x = Operand::random({300001}, 1);
  const Operand y = Operand::random({300001}, 2);
  expect_same_for_any_threads([&] {
    const Operand result = Operand::of({0.0F});
    accumulate_sum_of_differences(result, x, y, test_stream());
    accumulate_sum_of_squares(result, x, test_stream());
    return result.floats();
  });
}

TEST(Dropout, AgreesWithReference) {
  for (const std::int64_t n : {1, 3, 64, 1025, 5003}) {
    for (const float probability : {0.0F, 0.1F, 0.5F, 0.999F}) {
      const Dropout options{.probability = probability, .key = 0xDEADBEEF12345678u, .offset = 0xFFFFFFFF0u};
      const Operand x = Operand::random({n}, 1);
      const Operand y = Operand::poisoned({n});
      dropout(y, x, options, test_stream());
      y.expect_near(reference::dropout(x.doubles(), options), 1e-6, "y");
      dropout(x, x, options, test_stream());
      EXPECT_EQ(x.floats(), y.floats());
    }
  }
}

// A rank that holds the second half draws what a rank that holds all draws there.
TEST(Dropout, NoElements) {
  const Operand x = Operand::poisoned({0, 7});
  dropout(x, x, {.probability = 0.5F}, test_stream());
  x.expect_guards("x");
}

TEST(Dropout, DependsOnGlobalPositionAlone) {
  const Operand x = Operand::random({512}, 1);
  const Operand whole = Operand::poisoned({512});
  const Operand half = Operand::poisoned({256});
  dropout(whole, x, {.probability = 0.3F, .key = 4}, test_stream());
  dropout(half, x.tensor().slice(0, 256, 512), {.probability = 0.3F, .key = 4, .offset = 256}, test_stream());
  const reference::Array all = whole.doubles();
  half.expect_near({all.begin() + 256, all.end()}, 0.0, "y");
}

TEST(Dropout, DropsTheShareAskedFor) {
  const std::int64_t n = 200000;
  const Operand x = Operand::of(std::vector<float>(static_cast<std::size_t>(n), 1.0F));
  dropout(x, x, {.probability = 0.2F, .key = 1}, test_stream());
  std::int64_t dropped = 0;
  for (const float value : x.floats()) {
    dropped += value == 0.0F;
    EXPECT_TRUE(value == 0.0F || value == 1.25F);
  }
  EXPECT_NEAR(static_cast<double>(dropped) / n, 0.2, 0.005);
}

TEST(DropoutDeathTest, BadOptions) {
  const Operand x = Operand::zeros({4});
  EXPECT_DEATH(dropout(x, x, {.probability = 1.0F}, test_stream()), "probability 1");
  EXPECT_DEATH(dropout(x, x, {.probability = 0.5F, .offset = 2}, test_stream()), "offset");
}

}  // namespace
}  // namespace trireme
