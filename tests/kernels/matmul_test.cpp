#include "kernels/matmul.h"

#include <cmath>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/linear.h"

namespace trireme {
namespace {

struct Case {
  std::int64_t m, n, k;
  std::int64_t padding = 0;  // elements between rows, of every operand
};

Shape padded(const Shape& shape, std::int64_t padding) {
  return {shape[0], shape[1] + padding};
}

void check(const Case& c, MatmulOptions options) {
  SCOPED_TRACE(testing::Message() << c.m << " x " << c.n << " x " << c.k << " +" << c.padding << " transpose "
                                  << options.transpose_a << options.transpose_b << " accumulate "
                                  << options.accumulate);
  const Shape shape_a = options.transpose_a ? Shape{c.k, c.m} : Shape{c.m, c.k};
  const Shape shape_b = options.transpose_b ? Shape{c.n, c.k} : Shape{c.k, c.n};
  const Shape shape_c = {c.m, c.n};
  const Operand a = Operand::random(shape_a, 1, 1.0, padded(shape_a, c.padding));
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.k));
  const Operand b = Operand::random(shape_b, 2, scale, padded(shape_b, c.padding));
  Operand result = options.accumulate ? Operand::random(shape_c, 3, 1.0, padded(shape_c, c.padding))
                                      : Operand::poisoned(shape_c, padded(shape_c, c.padding));
  reference::Array expected =
      reference::matmul(a.doubles(), b.doubles(), c.m, c.n, c.k, options.transpose_a, options.transpose_b);
  if (options.accumulate) {
    const reference::Array before = result.doubles();
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  }
  matmul(result, a, b, options, test_stream());
  result.expect_near(expected, 1e-5, "c");
}

TEST(Matmul, AgreesWithReference) {
  const Case cases[] = {{1, 1, 1},       {1, 70, 33},      {70, 1, 33},       {65, 129, 1}, {7, 5, 3, 1},
                        {64, 64, 64, 5}, {129, 47, 65, 3}, {48, 193, 100},    {2, 3, 500},  {100, 96, 31, 16},
                        {4, 300, 90, 1}, {140, 300, 400},  {300, 140, 400, 1}};
  for (const Case& c : cases) {
    for (int bits = 0; bits < 8; ++bits) {
      check(c,
            {.transpose_a = (bits & 1) != 0, .transpose_b = (bits & 2) != 0, .accumulate = (bits & 4) != 0});
    }
  }
}

// Sums so long that the shared operand is packed in several parts.
TEST(Matmul, LongSums) {
  check({5, 6, 900000}, {.transpose_b = true});
  check({6, 5, 900000}, {.transpose_a = true, .accumulate = true});
}

TEST(Matmul, IsTheSameForAnyThreads) {
  for (const auto& [m, n] : {std::pair{200, 700}, std::pair{700, 200}}) {
    const Operand a = Operand::random({m, 500}, 1);
    const Operand b = Operand::random({n, 500}, 2);
    expect_same_for_any_threads([&] {
      const Operand c = Operand::poisoned({m, n});
      matmul(c, a, b, {.transpose_b = true}, test_stream());
      return c.floats();
    });
  }
}

TEST(Matmul, NanIsSeen) {
  Operand a = Operand::random({20, 30}, 1);
  a.set(5 * 30 + 7, std::numeric_limits<float>::quiet_NaN());
  const Operand c = Operand::poisoned({20, 40});
  matmul(c, a, Operand::random({30, 40}, 2), {}, test_stream());
  for (std::int64_t i = 0; i < 20 * 40; ++i) {
    EXPECT_EQ(std::isnan(c.floats()[static_cast<std::size_t>(i)]), i / 40 == 5) << i;
  }
}

TEST(MatmulDeathTest, WrongShapes) {
  const Operand x = Operand::random({4, 5}, 1);
  const Operand y = Operand::random({6, 7}, 2);
  const Operand c = Operand::poisoned({4, 7});
  EXPECT_DEATH(matmul(c, x, y, {}, {}), "matmul: b is \\[6, 7\\], \\[5, 7\\] expected");
  EXPECT_DEATH(matmul(c, x, Tensor(), {}, {}), "matmul: b is absent");
  const Operand nothing = Operand::zeros({4, 0});
  EXPECT_DEATH(matmul(c, nothing, Operand::zeros({0, 7}), {}, {}), "matmul: an empty sum");
}

}  // namespace
}  // namespace trireme
