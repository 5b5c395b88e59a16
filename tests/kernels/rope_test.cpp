#include "kernels/rope.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"

namespace trireme {
namespace {

constexpr std::int64_t kPositions = 40;

struct Tables {
  Operand cosines, sines;

  explicit Tables(std::int64_t pairs) : cosines(Operand::zeros({kPositions, pairs})), sines(cosines) {
    for (std::int64_t i = 0; i < kPositions * pairs; ++i) {
      cosines.set(i, static_cast<float>(std::cos(angle(i / pairs, i % pairs))));
      sines.set(i, static_cast<float>(std::sin(angle(i / pairs, i % pairs))));
    }
  }
  static double angle(std::int64_t position, std::int64_t pair) {
    return static_cast<double>(position) * std::pow(7.0, -static_cast<double>(pair));
  }
};

TEST(Rope, TurnsThePairsOfEachHead) {
  for (const std::int64_t first : {0, 11}) {
    for (const Shape& shape : {Shape{1, 1, 1, 2}, Shape{2, 5, 3, 6}, Shape{3, 29, 2, 34}}) {
      const Shape padded = {shape[0], shape[1] + 1, shape[2] + 2, shape[3]};
      const Operand x = Operand::random(shape, 1, 1.0, padded);
      const std::int64_t half = shape[3] / 2;
      const Tables tables(half);
      const reference::Array before = x.doubles();
      reference::Array expected = before;
      for (std::int64_t i = 0; i < shape.num_elements(); ++i) {
        const std::int64_t d = i % shape[3];
        const std::int64_t t = i / (shape[3] * shape[2]) % shape[1];
        const double angle = Tables::angle(first + t, d % half);
        const double other = reference::at(before, d < half ? i + half : i - half);
        reference::at(expected, i) =
            reference::at(before, i) * std::cos(angle) + (d < half ? -other : other) * std::sin(angle);
      }
      rope_forward(x, tables.cosines, tables.sines, first, {});
      x.expect_near(expected, 1e-6, "x");
      rope_backward(x, tables.cosines, tables.sines, first, {});
      x.expect_near(before, 1e-6, "turned back");
    }
  }
}

TEST(RopeDeathTest, PositionsBeyondTheTable) {
  const Operand x = Operand::random({1, 8, 1, 4}, 1);
  const Tables tables(2);
  EXPECT_DEATH(rope_forward(x, tables.cosines, tables.sines, kPositions - 7, {}), "positions .33, 41. of 40");
}

}  // namespace
}  // namespace trireme
