#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/rng.h"
#include "tests/kernels/operand.h"

namespace trireme {
namespace {

using reference::Tokens;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Tokens from the likeliest on, each with the end of its interval of [0, 1).
struct Intervals {
  Tokens tokens;
  std::vector<double> ends;
};

Intervals intervals_of(const std::vector<float>& row, const SamplingOptions& options) {
  const std::size_t v = options.vocabulary > 0 ? static_cast<std::size_t>(options.vocabulary) : row.size();
  Intervals result;
  result.tokens.resize(v);
  std::iota(result.tokens.begin(), result.tokens.end(), 0);
  const auto logit = [&](std::int32_t token) {
    return static_cast<double>(row[static_cast<std::size_t>(token)]);
  };
  std::stable_sort(result.tokens.begin(), result.tokens.end(),
                   [&](std::int32_t a, std::int32_t b) { return logit(a) > logit(b); });
  if (options.top_k > 0) result.tokens.resize(std::min(v, static_cast<std::size_t>(options.top_k)));
  double sum = 0.0;
  for (const std::int32_t token : result.tokens)
    result.ends.push_back(sum +=
                          std::exp((logit(token) - logit(result.tokens.front())) / options.temperature));
  if (options.top_p < 1.0) {
    std::size_t kept = 1;
    while (result.ends[kept - 1] < options.top_p * sum) ++kept;
    result.ends.resize(kept);
    result.tokens.resize(kept);
    sum = result.ends.back();
  }
  for (double& end : result.ends) end /= sum;
  return result;
}

// The types that this device's ops take.
std::vector<DType> dtypes() {
  if (test_device().is_cpu()) return {DType::kFloat32};
  return {DType::kFloat32, DType::kBfloat16};
}

Tokens sample(const Operand& logits, const SamplingOptions& options, std::uint64_t draw = 0) {
  const std::int64_t n = logits.tensor().dim(0);
  const Operand tokens = Operand::of(Tokens(static_cast<std::size_t>(n), -7), {n});
  sample_tokens(tokens, logits, options, draw, test_stream());
  tokens.expect_guards("tokens");
  return tokens.tokens();
}

// As the interval says in which the row's number lies, or, within rounding of its end, the one beside it.
void expect_drawn(const Operand& logits, const SamplingOptions& options, std::uint64_t draw) {
  const Tokens drawn = sample(logits, options, draw);
  const std::vector<float> all = logits.floats();
  const std::int64_t v = logits.tensor().dim(1);
  for (std::size_t n = 0; n < drawn.size(); ++n) {
    const auto begin = all.begin() + static_cast<std::int64_t>(n) * v;
    const Intervals intervals = intervals_of({begin, begin + v}, options);
    const double number = static_cast<double>(uniform(philox(options.seed, draw + n)[0]));
    const auto place = std::find(intervals.tokens.begin(), intervals.tokens.end(), drawn[n]);
    ASSERT_NE(place, intervals.tokens.end()) << "token " << drawn[n] << " of row " << n << " isn't kept";
    const auto i = static_cast<std::size_t>(place - intervals.tokens.begin());
    EXPECT_LE(number, intervals.ends[i] + 1e-6) << "row " << n;
    EXPECT_GE(number, (i > 0 ? intervals.ends[i - 1] : 0.0) - 1e-6) << "row " << n;
  }
}

TEST(SampleTokens, ByTheNumberOfTheRow) {
  const SamplingOptions all[] = {{.seed = 1},
                                 {.temperature = 0.3, .seed = 2},
                                 {.temperature = 1.7, .top_k = 3, .seed = 3},
                                 {.top_k = 40, .top_p = 0.7, .seed = 4},
                                 {.top_p = 0.9, .seed = 5},
                                 {.top_k = 100000, .top_p = 0.05, .seed = 6},
                                 {.temperature = 0.8, .top_p = 0.95, .seed = 7, .vocabulary = 29}};
  struct Size {
    std::int64_t n, v, padding;
  };
  for (const DType dtype : dtypes()) {
    for (const Size& size : {Size{40, 37, 0}, Size{3, 3000, 8}, Size{5, 515, 1}}) {
      const Operand logits =
          Operand::random({size.n, size.v}, 5, 2.0, {size.n, size.v + size.padding}, dtype);
      for (const SamplingOptions& options : all) {
        SCOPED_TRACE(testing::Message()
                     << size.n << " x " << size.v << " " << name(dtype) << " seed " << options.seed);
        expect_drawn(logits, options, 11);
      }
    }
  }
}

// More equal ones than a digit of their places tells apart.
TEST(SampleTokens, EqualOnesInTheOrderOfTokens) {
  Operand logits = Operand::zeros({3, 5000});
  for (std::int64_t v = 0; v < 5000; v += 3) logits.set(v, -0.0F);
  for (std::int64_t v = 5000; v < 10000; v += 7) logits.set(v, 1.0F);
  for (const SamplingOptions& options :
       {SamplingOptions{.seed = 1}, {.top_k = 3000, .seed = 2}, {.top_k = 2700, .top_p = 0.5, .seed = 3}}) {
    SCOPED_TRACE(options.seed);
    expect_drawn(logits, options, 0);
  }
}

TEST(SampleTokens, TheLikeliestAtNoTemperature) {
  for (const DType dtype : dtypes()) {
    Operand logits = Operand::random({4, 1003}, 1, 1.0, {4, 1008}, dtype);
    for (const std::int64_t i : {700, 20, 1003 + 1002, 2 * 1003, 3 * 1003 + 600}) logits.set(i, 50.0F);
    logits.set(3 * 1003 + 999, 60.0F);
    EXPECT_EQ(sample(logits, {.temperature = 0.0}), (Tokens{20, 1002, 0, 999}));
    EXPECT_EQ(sample(logits, {.temperature = 0.0, .vocabulary = 999}).back(), 600);
    EXPECT_EQ(sample(logits, {.top_k = 1}), (Tokens{20, 1002, 0, 999}));
    EXPECT_EQ(sample(logits, {.top_p = 1e-9}), (Tokens{20, 1002, 0, 999}));
    EXPECT_EQ(sample(logits, {.temperature = 1e-300, .top_p = 1e-9}), (Tokens{20, 1002, 0, 999}));
  }
}

// Impossible tokens are not drawn, nor what is no number; a row of nothing else gives a token all the same.
TEST(SampleTokens, OfWhatIsNotFinite) {
  Operand logits = Operand::zeros({64, 12});
  for (std::int64_t n = 0; n < 64; ++n) {
    for (std::int64_t v = 0; v < 12; ++v) {
      if (n % 4 == 0) logits.set(n * 12 + v, v % 3 == 1 ? 0.0F : -kInfinity);
      if (n % 4 == 1) logits.set(n * 12 + v, v == 5 ? kInfinity : 1.0F);
      if (n % 4 == 2) logits.set(n * 12 + v, v == 7 ? 0.0F : kNan);
      if (n % 4 == 3) logits.set(n * 12 + v, kNan);
    }
  }
  for (const SamplingOptions& options : {SamplingOptions{.seed = 1}, {.top_k = 5}, {.top_p = 0.9}}) {
    const Tokens drawn = sample(logits, options);
    for (std::size_t n = 0; n < drawn.size(); n += 4) {
      EXPECT_EQ(drawn[n] % 3, 1);
      EXPECT_EQ(drawn[n + 1], 5);
      EXPECT_EQ(drawn[n + 2], 7);
      EXPECT_EQ(drawn[n + 3], 0);
    }
  }
}

// Probabilities 0.5, 0.25, 0.15, 0.1 of tokens 2, 0, 3, 1.
std::map<std::int32_t, double> frequencies(const SamplingOptions& options) {
  constexpr std::int64_t kDraws = 600;
  const std::vector<float> row = {std::log(0.25F), std::log(0.10F), std::log(0.50F), std::log(0.15F)};
  Operand logits = Operand::zeros({kDraws, 4});
  for (std::int64_t i = 0; i < 4 * kDraws; ++i) logits.set(i, row[static_cast<std::size_t>(i % 4)]);
  std::map<std::int32_t, double> counts;
  for (const std::int32_t token : sample(logits, options)) counts[token] += 1.0 / kDraws;
  return counts;
}

TEST(SampleTokens, FollowsTheProbabilities) {
  auto seen = frequencies({.seed = 1});
  EXPECT_NEAR(seen[2], 0.50, 0.06);
  EXPECT_NEAR(seen[0], 0.25, 0.06);
  EXPECT_NEAR(seen[3], 0.15, 0.06);
  EXPECT_NEAR(seen[1], 0.10, 0.06);
  seen = frequencies({.top_p = 0.6, .seed = 3});
  EXPECT_EQ(seen.size(), 2U);
  EXPECT_NEAR(seen[2], 2.0 / 3, 0.06);
  EXPECT_EQ(frequencies({.top_p = 0.49}).size(), 1U);
}

TEST(SampleTokens, SeedAndDrawDecide) {
  const Operand logits = Operand::zeros({50, 300});
  const Tokens one = sample(logits, {.seed = 1}), later = sample(logits, {.seed = 1}, 20);
  EXPECT_EQ(one, sample(logits, {.seed = 1}));
  EXPECT_NE(one, sample(logits, {.seed = 2}));
  EXPECT_TRUE(std::equal(one.begin() + 20, one.end(), later.begin()));
}

TEST(SampleTokensDeathTest, NotMoreTokensThanThereAre) {
  const Operand logits = Operand::zeros({1, 3});
  EXPECT_DEATH(sample(logits, {.vocabulary = 4}), "4 of 3 tokens");
}

}  // namespace
}  // namespace trireme
