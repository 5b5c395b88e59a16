#include "kernels/cross_entropy.h"

#include <cmath>
#include <limits>
#include <vector>

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

// Parts of a vocabulary: where each begins, and the end of the last.
using Cuts = std::vector<std::int64_t>;

// What a part of the vocabulary adds to the whole: rows of [R, 3, N].
struct Parts {
  Operand all;

  Parts(std::int64_t num_parts, std::int64_t n) : all(Operand::poisoned({num_parts, 3, n})) {}
  Tensor row(std::int64_t part, std::int64_t which) const {
    return all.tensor().slice(0, part, part + 1).squeeze(0).slice(0, which, which + 1).squeeze(0);
  }
};

// lse, target_logit and smoothed_logit of the whole, put together from its parts; and dlogits of the parts.
struct Combined {
  Operand lse, target_logit, smoothed_logit, dlogits;

  Combined(const Operand& logits, const Operand& targets, const Cuts& cuts, float smoothing)
      : lse(Operand::poisoned({logits.tensor().dim(0)})),
        target_logit(Operand::poisoned({logits.tensor().dim(0)})),
        smoothed_logit(Operand::poisoned({logits.tensor().dim(0)})),
        dlogits(Operand::poisoned(logits.tensor().shape())) {
    const Parts parts(std::ssize(cuts) - 1, logits.tensor().dim(0));
    for_each_part(cuts, [&](std::int64_t r, std::int64_t begin, std::int64_t end) {
      cross_entropy_forward(parts.row(r, 0), parts.row(r, 1), parts.row(r, 2),
                            logits.tensor().slice(1, begin, end), targets, smoothing, test_stream(),
                            {begin, cuts.back()});
    });
    cross_entropy_combine(lse, target_logit, smoothed_logit, parts.all, targets, test_stream());
    for_each_part(cuts, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      cross_entropy_backward(dlogits.tensor().slice(1, begin, end), logits.tensor().slice(1, begin, end), lse,
                             targets, smoothing, 0.125F, test_stream(), {begin, cuts.back()});
    });
  }

  template <typename Body>
  static void for_each_part(const Cuts& cuts, Body body) {
    for (std::size_t r = 0; r + 1 < cuts.size(); ++r)
      body(static_cast<std::int64_t>(r), cuts[r], cuts[r + 1]);
  }
};

TEST(CrossEntropy, PartsOfTheVocabularyAreAsTheWhole) {
  for (const Case& c : {kCases[2], kCases[5], kCases[7], kCases[8]}) {
    const Operand logits = Operand::random({c.n, c.v}, 1, c.scale, {c.n, c.v + c.padding});
    const reference::Tokens targets = targets_of(c);
    const Operand targets_operand = Operand::of(targets, {c.n});
    const auto expected = reference::cross_entropy(logits.doubles(), targets, c.smoothing, c.v);
    const auto dlogits_expected =
        reference::cross_entropy_backward(logits.doubles(), expected.lse, targets, c.smoothing, 0.125, c.v);
    // The last three have ranks without a token: the first, one between others, and (of few tokens) several.
    for (const Cuts& cuts :
         {Cuts{0, c.v / 2, c.v}, Cuts{0, c.v / 5, c.v / 2 + 1, c.v}, Cuts{0, 0, c.v},
          Cuts{0, c.v / 3, c.v / 3, c.v}, Cuts{0, c.v / 6, c.v / 3, c.v / 2, c.v / 2 + 1, c.v}}) {
      SCOPED_TRACE(testing::Message() << c.n << " x " << c.v << ", " << cuts.size() - 1 << " parts");
      const Combined got(logits, targets_operand, cuts, c.smoothing);
      got.lse.expect_near(expected.lse, 1e-6, "lse");
      got.target_logit.expect_near(expected.target_logit, 0.0, "target_logit");
      got.smoothed_logit.expect_near(expected.smoothed_logit, c.smoothing > 0.0F ? 1e-6 : 0.0,
                                     "smoothed_logit");
      got.dlogits.expect_near(dlogits_expected, 1e-6, "dlogits");
    }
  }
}

TEST(CrossEntropy, OnePartIsTheWhole) {
  const Case c = kCases[7];
  const Operand logits = Operand::random({c.n, c.v}, 1, c.scale);
  const Operand targets = Operand::of(targets_of(c), {c.n});
  const Operand lse = Operand::poisoned({c.n});
  const Operand target_logit = Operand::poisoned({c.n}), smoothed_logit = Operand::poisoned({c.n});
  cross_entropy_forward(lse, target_logit, smoothed_logit, logits, targets, c.smoothing, test_stream());
  const Operand dlogits = Operand::poisoned({c.n, c.v});
  cross_entropy_backward(dlogits, logits, lse, targets, c.smoothing, 0.125F, test_stream());
  const Combined got(logits, targets, {0, c.v}, c.smoothing);
  got.lse.expect_near(lse.doubles(), 0.0, "lse");
  got.target_logit.expect_near(target_logit.doubles(), 0.0, "target_logit");
  got.smoothed_logit.expect_near(smoothed_logit.doubles(), 0.0, "smoothed_logit");
  got.dlogits.expect_near(dlogits.doubles(), 0.0, "dlogits");
}

// Parts of which one is impossible, far below the others, or not a number.
TEST(CrossEntropy, ExtremeParts) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Operand logits = Operand::of({-inf,   -inf, 5.0F,  -inf,  // the first part is impossible
                                      -inf,   -inf, -inf,  -inf,  // as all are
                                      -1e30F, 0.0F, 1e30F, 1.0F,  // no overflow
                                      1.0F,   nan,  1.0F,  1.0F,  //
                                      1.0F,   1.0F, inf,   1.0F});
  const Operand targets = Operand::of(reference::Tokens{2, 0, 2, 0, 0}, {5});
  const Parts parts(2, 5);
  for (const std::int64_t r : {0, 1}) {
    cross_entropy_forward(parts.row(r, 0), parts.row(r, 1), parts.row(r, 2),
                          logits.tensor().view({5, 4}).slice(1, 2 * r, 2 * r + 2), targets, 0.0F,
                          test_stream(), {2 * r, 4});
  }
  const Operand lse = Operand::poisoned({5}), target_logit = Operand::poisoned({5}),
                smoothed_logit = Operand::poisoned({5});
  cross_entropy_combine(lse, target_logit, smoothed_logit, parts.all, targets, test_stream());
  EXPECT_EQ(lse.floats()[0], 5.0F);
  EXPECT_EQ(lse.floats()[1], -inf);
  EXPECT_EQ(lse.floats()[2], 1e30F);
  EXPECT_TRUE(std::isnan(lse.floats()[3]));
  EXPECT_FALSE(std::isfinite(lse.floats()[4]));
  EXPECT_EQ(target_logit.floats()[0], 5.0F);
}

TEST(CrossEntropy, NoRows) {
  const Operand logits = Operand::random({0, 10}, 1);
  const Operand targets = Operand::of(reference::Tokens{}, {0});
  const Operand row = Operand::poisoned({0});
  cross_entropy_forward(row, row, row, logits, targets, 0.1F, test_stream());
  cross_entropy_combine(row, row, row, Operand::poisoned({3, 3, 0}), targets, test_stream());
  cross_entropy_backward(logits, logits, row, targets, 0.1F, 1.0F, test_stream());
  logits.expect_guards("logits");
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
  EXPECT_DEATH(cross_entropy_forward(lse, lse, {}, logits, as_tensor(targets, {1}), 0.0F, {}, {5, 14}),
               "tokens \\[5, 15\\) of a vocabulary of 14");
  targets[0] = 20;
  EXPECT_DEATH(cross_entropy_backward(logits, logits, lse, as_tensor(targets, {1}), 0.0F, 1.0F, {}, {5, 20}),
               "target 20 at 0, of a vocabulary of 20");
}

}  // namespace
}  // namespace trireme
