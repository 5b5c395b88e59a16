#include "kernels/norm.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/norm.h"

namespace trireme {
namespace {

constexpr float kEpsilon = 1e-5F;

struct Case {
  std::int64_t n, c;
  bool branch;
  float dropout;
};

// Each of them as LayerNorm and as RMSNorm.
constexpr Case kCases[] = {{1, 1, true, 0.0F},    {1, 5, false, 0.0F},   {3, 7, true, 0.25F},
                           {33, 64, false, 0.0F}, {65, 130, true, 0.5F}, {70, 33, true, 0.0F},
                           {2, 1000, true, 0.1F}};

Dropout make_dropout(const Case& c) {
  return {.probability = c.dropout, .key = 5, .offset = 12};
}

class ResidualNorm : public testing::TestWithParam<bool> {
 protected:
  const bool is_layer_norm = GetParam();

  Tensor of_layer_norm(const Operand& x) const { return is_layer_norm ? x.tensor() : Tensor(); }
  reference::Array of_layer_norm(const reference::Array& x) const {
    return is_layer_norm ? x : reference::Array();
  }
};

TEST_P(ResidualNorm, Forward) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.c << " branch " << c.branch << " dropout "
                                    << c.dropout);
    const Operand residual = Operand::random({c.n, c.c}, 1, 3.0);
    const Operand branch = Operand::random({c.n, c.c}, 2);
    const Operand weight = Operand::random({c.c}, 3);
    const Operand bias = Operand::random({c.c}, 4);
    const Operand y = Operand::poisoned({c.n, c.c});
    const Operand sum = Operand::poisoned({c.n, c.c});
    const Operand mean = Operand::poisoned({c.n});
    const Operand rstd = Operand::poisoned({c.n});
    const auto expected = reference::residual_norm(
        residual.doubles(), c.branch ? branch.doubles() : reference::Array(), weight.doubles(),
        of_layer_norm(bias.doubles()), kEpsilon, make_dropout(c), c.n, c.c);
    residual_norm_forward(y, c.branch ? sum.tensor() : Tensor(), of_layer_norm(mean), rstd, residual,
                          c.branch ? branch.tensor() : Tensor(), weight, of_layer_norm(bias), kEpsilon,
                          make_dropout(c), test_stream());
    y.expect_near(expected.y, 1e-5, "y");
    if (c.branch) sum.expect_near(expected.sum, 1e-6, "sum");
    if (is_layer_norm) mean.expect_near(expected.mean, 1e-6, "mean");
    rstd.expect_near(expected.rstd, 2e-6, "rstd");
    if (!c.branch) continue;
    // In place: the sum replaces the residual.
    residual_norm_forward(y, residual, of_layer_norm(mean), rstd, residual, branch, weight,
                          of_layer_norm(bias), kEpsilon, make_dropout(c), test_stream());
    residual.expect_near(expected.sum, 1e-6, "sum in place");
    y.expect_near(expected.y, 1e-5, "y in place");
  }
}

TEST_P(ResidualNorm, Backward) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.c << " branch " << c.branch << " dropout "
                                    << c.dropout);
    const Operand sum = Operand::random({c.n, c.c}, 1, 2.0);
    const Operand weight = Operand::random({c.c}, 3);
    const Operand dy = Operand::random({c.n, c.c}, 4);
    const Operand dsum = Operand::random({c.n, c.c}, 5);
    const Operand dbranch = Operand::poisoned({c.n, c.c});
    const Operand dweight = Operand::random({c.c}, 6);
    const Operand dbias = Operand::random({c.c}, 7);
    const auto forward = reference::residual_norm(sum.doubles(), {}, weight.doubles(),
                                                  of_layer_norm(weight.doubles()), kEpsilon, {}, c.n, c.c);
    const Operand mean =
        is_layer_norm ? Operand::of({forward.mean.begin(), forward.mean.end()}) : Operand::poisoned({c.n});
    const Operand rstd = Operand::of({forward.rstd.begin(), forward.rstd.end()});
    auto expected =
        reference::residual_norm_backward(dsum.doubles(), dy.doubles(), sum.doubles(), forward.mean,
                                          forward.rstd, weight.doubles(), make_dropout(c), c.n, c.c);
    for (std::size_t i = 0; i < expected.dweight.size(); ++i) {
      expected.dweight[i] += dweight.doubles()[i];
      if (is_layer_norm) expected.dbias[i] += dbias.doubles()[i];
    }
    residual_norm_backward(dsum, c.branch ? dbranch.tensor() : Tensor(), dweight, of_layer_norm(dbias), dy,
                           sum, of_layer_norm(mean), rstd, weight, make_dropout(c), test_stream());
    // A row of one element has no variance, and rstd = 1 / sqrt(epsilon) makes rounding large.
    const double tolerance = c.c == 1 ? 1e-3 : 1e-5;
    dsum.expect_near(expected.dsum, tolerance, "dsum");
    if (c.branch) dbranch.expect_near(expected.dbranch, tolerance, "dbranch");
    dweight.expect_near(expected.dweight, tolerance, "dweight");
    if (is_layer_norm) dbias.expect_near(expected.dbias, tolerance, "dbias");
  }
}

TEST_P(ResidualNorm, NoRows) {
  const Operand rows = Operand::poisoned({0, 12}), of_rows = Operand::poisoned({0});
  const Operand weight = Operand::random({12}, 1), dweight = Operand::random({12}, 2);
  const Operand dbias = Operand::random({12}, 3);
  const reference::Array dweight_before = dweight.doubles(), dbias_before = dbias.doubles();
  const Dropout dropout{.probability = 0.5F};
  residual_norm_forward(rows, rows, of_layer_norm(of_rows), of_rows, rows, rows, weight,
                        of_layer_norm(weight), kEpsilon, dropout, test_stream());
  residual_norm_backward(rows, rows, dweight, of_layer_norm(dbias), rows, rows, of_layer_norm(of_rows),
                         of_rows, weight, dropout, test_stream());
  dweight.expect_near(dweight_before, 0.0, "dweight");
  dbias.expect_near(dbias_before, 0.0, "dbias");
  rows.expect_guards("rows");
}

INSTANTIATE_TEST_SUITE_P(, ResidualNorm, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "Layer" : "Rms"; });

TEST(LayerNorm, LargeMeanKeepsItsVariance) {
  const std::int64_t width = 256;
  Operand residual = Operand::random({1, width}, 1);
  for (std::int64_t i = 0; i < width; ++i)
    residual.set(i, 1000.0F + residual.floats()[static_cast<std::size_t>(i)]);
  const Operand one = Operand::of(std::vector<float>(width, 1.0F));
  const Operand zero = Operand::zeros({width});
  const Operand y = Operand::poisoned({1, width});
  const Operand mean = Operand::poisoned({1});
  const Operand rstd = Operand::poisoned({1});
  residual_norm_forward(y, {}, mean, rstd, residual, {}, one, zero, kEpsilon, {}, test_stream());
  const auto expected =
      reference::residual_norm(residual.doubles(), {}, one.doubles(), zero.doubles(), kEpsilon, {}, 1, width);
  y.expect_near(expected.y, 1e-4, "y");
}

TEST(LayerNorm, NanStaysInItsRow) {
  Operand residual = Operand::random({4, 50}, 1);
  residual.set(2 * 50 + 3, std::numeric_limits<float>::quiet_NaN());
  const Operand weight = Operand::random({50}, 3);
  const Operand y = Operand::poisoned({4, 50});
  const Operand mean = Operand::poisoned({4});
  const Operand rstd = Operand::poisoned({4});
  residual_norm_forward(y, {}, mean, rstd, residual, {}, weight, weight, kEpsilon, {}, test_stream());
  for (std::size_t i = 0; i < 200; ++i) EXPECT_EQ(std::isnan(y.floats()[i]), i / 50 == 2) << i;
}

TEST(LayerNorm, GradientsAreTheSameForAnyThreads) {
  const Shape shape = {300, 100};
  const Operand sum = Operand::random(shape, 1);
  const Operand weight = Operand::random({100}, 2);
  const Operand dy = Operand::random(shape, 3);
  const Operand mean = Operand::random({300}, 4);
  const Operand rstd = Operand::random({300}, 5);
  expect_same_for_any_threads([&] {
    const Operand dsum = Operand::random(shape, 6);
    const Operand dweight = Operand::zeros({100});
    const Operand dbias = Operand::zeros({100});
    residual_norm_backward(dsum, {}, dweight, dbias, dy, sum, mean, rstd, weight, {}, test_stream());
    std::vector<float> all = dsum.floats();
    for (const float x : dweight.floats()) all.push_back(x);
    for (const float x : dbias.floats()) all.push_back(x);
    return all;
  });
}

}  // namespace
}  // namespace trireme
