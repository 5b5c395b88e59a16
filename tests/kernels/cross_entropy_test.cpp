#include "kernels/cross_entropy.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/cross_entropy.h"

namespace trireme {
namespace {

struct Case {
  std::int64_t n, v, padding;
  double scale;  // of the logits
  float smoothing = 0.0F;
};

constexpr Case kCases[] = {{1, 1, 0, 1.0},        {1, 2, 3, 1.0},           {7, 33, 0, 3.0},
                           {20, 257, 7, 10.0},    {3, 9001, 15, 2.0},       {1, 1, 0, 1.0, 0.1F},
                           {7, 33, 0, 3.0, 0.1F}, {20, 257, 7, 10.0, 0.5F}, {3, 9001, 15, 2.0, 0.1F}};

reference::Tokens targets_of(const Case& c) {
  reference::Tokens targets = random_tokens(c.n, static_cast<std::int32_t>(c.v), 2);
  for (std::size_t i = 2; i < targets.size(); i += 3) targets[i] = kIgnoredTarget;
  return targets;
}

TEST(CrossEntropy, ForwardAndBackward) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.v);
    const Operand logits = Operand::random({c.n, c.v}, 1, c.scale, {c.n, c.v + c.padding});
    const reference::Tokens targets = targets_of(c);
    const Operand targets_operand = Operand::of(targets, {c.n});
    const Operand lse = Operand::poisoned({c.n});
    const Operand target_logit = Operand::poisoned({c.n}), smoothed_logit = Operand::poisoned({c.n});
    cross_entropy_forward(lse, target_logit, smoothed_logit, logits, targets_operand, c.smoothing,
                          test_stream());
    const auto expected = reference::cross_entropy(logits.doubles(), targets, c.smoothing, c.v);
    lse.expect_near(expected.lse, 1e-6, "lse");
    target_logit.expect_near(expected.target_logit, 0.0, "target_logit");
    smoothed_logit.expect_near(expected.smoothed_logit, c.smoothing > 0.0F ? 1e-6 : 0.0, "smoothed_logit");

    const auto dlogits_expected =
        reference::cross_entropy_backward(logits.doubles(), expected.lse, targets, c.smoothing, 0.125, c.v);
    const Operand dlogits = Operand::poisoned({c.n, c.v}, {c.n, c.v + c.padding + 2});
    cross_entropy_backward(dlogits, logits, lse, targets_operand, c.smoothing, 0.125F, test_stream());
    dlogits.expect_near(dlogits_expected, 1e-6, "dlogits");
    cross_entropy_backward(logits, logits, lse, targets_operand, c.smoothing, 0.125F, test_stream());
    logits.expect_near(dlogits_expected, 1e-6, "dlogits in place");
  }
}

TEST(CrossEntropy, ExtremeLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  const Operand logits = Operand::of({-inf, 5.0F, -inf,     // impossible tokens count for nothing
                                      1e30F, -1e30F, 0.0F,  // no overflow
                                      -3e38F, -3e38F, -3e38F, -inf, -inf, -inf});
  const Operand targets = Operand::of(reference::Tokens{1, 0, 2, 0}, {4});
  const Operand lse = Operand::poisoned({4});
  const Operand target_logit = Operand::poisoned({4});
  const Tensor rows = logits.tensor().view({4, 3});
  cross_entropy_forward(lse, target_logit, {}, rows, targets, 0.0F, test_stream());
  EXPECT_EQ(lse.floats()[0], 5.0F);
  EXPECT_EQ(lse.floats()[1], 1e30F);
  EXPECT_EQ(lse.floats()[2], -3e38F);
  EXPECT_EQ(lse.floats()[3], -inf);
  const Operand dlogits = Operand::poisoned({4, 3});
  cross_entropy_backward(dlogits, rows, lse, targets, 0.0F, 1.0F, test_stream());
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(dlogits.floats()[i], 0.0F) << i;
}

TEST(CrossEntropy, NanAndInfiniteLogitsGiveNan) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Operand logits = Operand::random({1, 100}, 1);
    logits.set(63, bad);
    const Operand targets = Operand::of(reference::Tokens{5}, {1});
    const Operand lse = Operand::poisoned({1});
    const Operand target_logit = Operand::poisoned({1});
    cross_entropy_forward(lse, target_logit, {}, logits, targets, 0.0F, test_stream());
    EXPECT_FALSE(std::isfinite(lse.floats()[0]));
    const Operand dlogits = Operand::zeros({1, 100});
    cross_entropy_backward(dlogits, logits, lse, targets, 0.0F, 1.0F, test_stream());
    EXPECT_TRUE(std::isnan(dlogits.floats()[63]));
  }
}

TEST(CrossEntropyDeathTest, TargetOutOfRange) {
  const Operand logits = Operand::random({1, 10}, 1);
  const Operand lse = Operand::poisoned({1});
  reference::Tokens targets = {10};
  EXPECT_DEATH(cross_entropy_forward(lse, lse, {}, logits, as_tensor(targets, {1}), 0.0F, {}),
               "target 10 at 0");
}

}  // namespace
}  // namespace trireme
