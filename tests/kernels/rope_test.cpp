#include "kernels/rope.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/rope.h"

namespace trireme {
namespace {

constexpr std::int64_t kPositions = 60;

struct Case {
  std::int64_t b, t, h, d;
  std::int64_t first_position;
  bool packed = false;       // with other heads in the same rows
  bool by_position = false;  // positions are given, one by one
  double amplitude = 1.0;
};

constexpr Case kCases[] = {{1, 1, 1, 2, 0},
                           {2, 7, 3, 10, 5, true},
                           {1, 60, 2, 64, 0},
                           {2, 19, 1, 40, 41, true, false, 1.3},
                           {3, 33, 2, 16, 0, true, true}};

struct Inputs {
  reference::Array frequencies;
  reference::Tokens positions;           // [B T], of the case
  Operand tables = Operand::zeros({0});  // [2, P, R]
  Operand positions_operand = Operand::zeros({0});
  Tensor cos, sin;

  explicit Inputs(const Case& c) {
    for (std::int64_t r = 0; r < c.d / 2; ++r) {
      frequencies.push_back(std::pow(100.0, -2.0 * static_cast<double>(r) / static_cast<double>(c.d)));
    }
    std::vector<float> table(static_cast<std::size_t>(kPositions * c.d));
    const Shape shape = {2, kPositions, c.d / 2};
    const Tensor host(table.data(), DType::kFloat32, shape);
    rope_table(host.slice(0, 0, 1).view({kPositions, c.d / 2}),
               host.slice(0, 1, 2).view({kPositions, c.d / 2}), frequencies, c.amplitude);
    tables = Operand::of(table);
    cos = tables.tensor().slice(0, 0, kPositions * c.d / 2).view({kPositions, c.d / 2});
    sin = tables.tensor().slice(0, kPositions * c.d / 2, kPositions * c.d).view({kPositions, c.d / 2});
    positions = random_tokens(c.b * c.t, kPositions, 3);
    if (c.by_position) {
      positions_operand = Operand::of(positions, {c.b, c.t});
      return;
    }
    for (std::int64_t n = 0; n < c.b * c.t; ++n) {
      positions[static_cast<std::size_t>(n)] = static_cast<std::int32_t>(c.first_position + n % c.t);
    }
  }

  Tensor positions_BT(const Case& c) const { return c.by_position ? positions_operand.tensor() : Tensor(); }
};

Shape room(const Case& c) {
  return c.packed ? Shape{c.b, c.t + 1, c.h + 3, c.d} : Shape();
}

TEST(Rope, AgreesWithReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.b << " x " << c.t << " x " << c.h << " x " << c.d);
    const Inputs in(c);
    const Operand x = Operand::random({c.b, c.t, c.h, c.d}, 1, 1.0, room(c));
    const reference::Array before = x.doubles();
    rope_forward(x, in.cos, in.sin, c.first_position, in.positions_BT(c), test_stream());
    x.expect_near(reference::rope(before, in.positions, in.frequencies, c.amplitude, 1.0, c.h), 1e-6, "y");
    const Operand dx = Operand::random({c.b, c.t, c.h, c.d}, 2, 1.0, room(c));
    const reference::Array dy = dx.doubles();
    rope_backward(dx, in.cos, in.sin, c.first_position, in.positions_BT(c), test_stream());
    dx.expect_near(reference::rope(dy, in.positions, in.frequencies, c.amplitude, -1.0, c.h), 1e-6, "dx");
  }
}

TEST(Rope, NoTokens) {
  const Inputs in({1, 1, 1, 16, 0});
  for (const Shape& shape : {Shape{0, 5, 2, 16}, Shape{3, 0, 2, 16}}) {
    const Operand x = Operand::poisoned(shape);
    rope_forward(x, in.cos, in.sin, 0, {}, test_stream());
    rope_backward(x, in.cos, in.sin, 0, {}, test_stream());
    x.expect_guards("x");
  }
}

// What the embedding is for: products of queries and keys depend on their distance alone.
TEST(Rope, ProductsDependOnDistance) {
  const Case c{1, 2, 1, 32, 0};
  const Inputs in(c);
  const auto product = [&](std::int64_t first_position) {
    const Operand x = Operand::random({1, 2, 1, 32}, 1);
    rope_forward(x, in.cos, in.sin, first_position, {}, test_stream());
    const reference::Array rotated = x.doubles();
    double sum = 0.0;
    for (std::size_t i = 0; i < 32; ++i) sum += rotated[i] * rotated[i + 32];
    return sum;
  };
  for (const std::int64_t first_position : {1, 20, 58})
    EXPECT_NEAR(product(first_position), product(0), 1e-5);
}

TEST(RopeDeathTest, PositionsBeyondTheTable) {
  const Case c{1, 4, 1, 8, 0};
  const Inputs in(c);
  const Operand x = Operand::random({1, 4, 1, 8}, 1);
  EXPECT_DEATH(rope_forward(x, in.cos, in.sin, 57, {}, {}), "positions \\[57, 61\\) of a table of 60");
  const Operand positions = Operand::of(reference::Tokens{0, 1, 60, 2}, {1, 4});
  EXPECT_DEATH(rope_forward(x, in.cos, in.sin, 0, positions, {}), "position 60 at 2");
}

}  // namespace
}  // namespace trireme
