#include "kernels/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"

namespace trireme {
namespace {

using reference::Tokens;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  std::int64_t n, v, padding, k;
};
const Case kCases[] = {{1, 1, 0, 1},      {1, 5, 3, 5},     {7, 33, 0, 4},      {3, 513, 7, 1},
                       {2, 3001, 3, 700}, {2, 9001, 15, 8}, {1, 4096, 0, 4096}, {3, 2048, 4, 16}};

// Many equal ones, zeros of both signs, and infinite ones.
std::vector<float> coarse(std::vector<float> logits) {
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = std::round(2.0F * logits[i]) / 2.0F;
    if (i % 97 == 96) logits[i] = -kInfinity;
    if (i % 1009 == 1008) logits[i] = kInfinity;
  }
  return logits;
}

// The types that this device's ops take.
std::vector<DType> dtypes() {
  if (test_device().is_cpu()) return {DType::kFloat32};
  return {DType::kFloat32, DType::kBfloat16};
}

Operand logits_of(const Case& c, bool is_coarse, DType dtype) {
  Operand logits = Operand::random({c.n, c.v}, 3, 2.0, {c.n, c.v + c.padding}, dtype);
  if (!is_coarse) return logits;
  const std::vector<float> values = coarse(logits.floats());
  for (std::int64_t i = 0; i < c.n * c.v; ++i) logits.set(i, values[static_cast<std::size_t>(i)]);
  return logits;
}

std::vector<float> row_of(const Operand& logits, std::int64_t n) {
  const std::vector<float> all = logits.floats();
  const std::int64_t v = logits.tensor().dim(1);
  return {all.begin() + n * v, all.begin() + (n + 1) * v};
}

// From the likeliest on.
Tokens order_of(const std::vector<float>& row) {
  Tokens order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
  });
  return order;
}

TEST(TopK, FindsTheLikeliestInTheOrderOfTokens) {
  for (const DType dtype : dtypes()) {
    for (const Case& c : kCases) {
      for (const bool is_coarse : {false, true}) {
        SCOPED_TRACE(testing::Message() << c.k << " of " << c.n << " x " << c.v << " " << name(dtype)
                                        << (is_coarse ? ", coarse" : ""));
        const Operand logits = logits_of(c, is_coarse, dtype);
        const Operand values = Operand::poisoned({c.n, c.k});
        const Operand tokens = Operand::of(Tokens(static_cast<std::size_t>(c.n * c.k), -7), {c.n, c.k});
        top_k(values, tokens, logits, test_stream());
        Tokens expected;
        std::vector<float> expected_values;
        for (std::int64_t n = 0; n < c.n; ++n) {
          const std::vector<float> row = row_of(logits, n);
          Tokens best = order_of(row);
          best.resize(static_cast<std::size_t>(c.k));
          std::sort(best.begin(), best.end());
          for (const std::int32_t token : best) {
            expected.push_back(token);
            expected_values.push_back(row[static_cast<std::size_t>(token)]);
          }
        }
        EXPECT_EQ(tokens.tokens(), expected);
        EXPECT_EQ(values.floats(), expected_values);
        values.expect_guards("values");
        tokens.expect_guards("tokens");
      }
    }
  }
}

TEST(CountHits, OfSeveralLikeliestTheFirst) {
  for (const DType dtype : dtypes()) {
    for (const Case& c : {Case{1, 1, 0, 0}, Case{9, 33, 3, 0}, Case{31, 515, 5, 0}, Case{6, 2048, 0, 0}}) {
      for (const bool is_coarse : {false, true}) {
        SCOPED_TRACE(testing::Message() << c.n << " x " << c.v << " " << name(dtype));
        const Operand logits = logits_of(c, is_coarse, dtype);
        Tokens targets;
        std::int32_t expected = 4;
        for (std::int64_t n = 0; n < c.n; ++n) {
          const Tokens order = order_of(row_of(logits, n));
          const std::int32_t others[] = {order.front(), order[order.size() > 1 ? 1 : 0], -1, order.front()};
          targets.push_back(others[n % 4]);
          expected += targets.back() == order.front() ? 1 : 0;
        }
        const Operand hits = Operand::of(Tokens{4}, {1});
        count_hits(hits, logits, Operand::of(targets, {c.n}), test_stream());
        EXPECT_EQ(hits.tokens(), Tokens{expected});
      }
    }
  }
}

TEST(CountHits, NothingHitsWhatIsNoNumber) {
  Operand logits = Operand::random({3, 40}, 1);
  for (const std::int64_t i : {5, 40 + 6, 80 + 7}) logits.set(i, i == 46 ? 1e9F : std::nanf(""));
  const Operand hits = Operand::of(Tokens{0}, {1});
  count_hits(hits, logits, Operand::of(Tokens{5, 6, 7}, {3}), test_stream());
  EXPECT_EQ(hits.tokens(), Tokens{1});
}

TEST(TopKDeathTest, NotMoreThanThereAre) {
  const Operand logits = Operand::random({1, 3}, 1), values = Operand::poisoned({1, 4});
  const Operand tokens = Operand::of(Tokens(4, 0), {1, 4});
  EXPECT_DEATH(top_k(values, tokens, logits, test_stream()), "4 of 3 tokens");
}

}  // namespace
}  // namespace trireme
