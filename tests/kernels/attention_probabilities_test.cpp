#include "kernels/attention_probabilities.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"

namespace trireme {
namespace {

struct Case {
  const char* name;
  reference::AttentionSizes sizes;  // b, t, s, h, k, d
  bool causal;
  std::int64_t window = 0;
  bool alibi = false;
  // Of each sequence the same; empty for none.
  reference::Tokens query_documents = {};
  reference::Tokens key_documents = {};
};

const std::vector<Case> kCases = {
    {"one", {1, 1, 1, 1, 1, 1}, true},
    {"causal", {2, 37, 37, 2, 2, 20}, true},
    {"full", {2, 19, 19, 2, 2, 8}, false},
    {"cross, more keys", {2, 5, 23, 4, 4, 17}, false},
    {"cross, more queries", {1, 23, 5, 1, 1, 3}, false},
    {"end of a cache", {1, 3, 40, 2, 2, 16}, true},
    {"window", {1, 50, 50, 2, 2, 16}, true, 7},
    {"window on both sides", {1, 50, 50, 1, 1, 16}, false, 7},
    {"shared keys", {2, 21, 21, 6, 2, 33}, true},
    {"ALiBi", {1, 30, 30, 3, 3, 8}, true, 0, true},
    {"ALiBi on both sides, window", {1, 30, 30, 3, 1, 8}, false, 11, true},
    {"documents", {2, 6, 6, 2, 1, 8}, true, 0, false, {0, 0, 1, 1, 1, 4}, {0, 0, 1, 1, 1, 4}},
    {"padding", {3, 4, 7, 2, 2, 8}, false, 0, false, {0, 0, 0, 0}, {0, 0, 0, 0, 1, 1, 1}},
    {"no keys for some", {2, 4, 3, 2, 2, 8}, false, 0, true, {0, 1, 2, 3}, {1, 1, 3}},
};

reference::Tokens repeated(const reference::Tokens& row, std::int64_t count) {
  reference::Tokens all;
  for (std::int64_t i = 0; i < count; ++i) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// Queries, keys and values in one row, as a projection leaves them.
struct Inputs {
  Operand q, k, v, slopes;
  reference::Tokens query_documents, key_documents;
  AttentionOptions options;

  Inputs(const Inputs&) = delete;  // the options are views of its arrays
  explicit Inputs(const Case& c)
      : q(Operand::random({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, 1, 1.5,
                          {c.sizes.b, c.sizes.t, c.sizes.h + 2 * c.sizes.k, c.sizes.d})),
        k(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 2, 1.5,
                          {c.sizes.b, c.sizes.s + 2, 3 * c.sizes.k, c.sizes.d})),
        v(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 3)),
        slopes(Operand::of({0.5F, 0.1F, 0.02F})),
        query_documents(repeated(c.query_documents, c.sizes.b)),
        key_documents(repeated(c.key_documents, c.sizes.b)),
        options{.scale = 0.3F, .causal = c.causal, .window = c.window} {
    if (c.alibi) options.alibi_slopes_H = slopes.tensor().slice(0, 0, c.sizes.h);
    if (query_documents.empty()) return;
    options.query_documents_BT = as_tensor(query_documents, {c.sizes.b, c.sizes.t});
    options.key_documents_BS = as_tensor(key_documents, {c.sizes.b, c.sizes.s});
  }

  reference::AttentionMasks masks() const {
    reference::AttentionMasks masks(options);
    if (options.alibi_slopes_H) masks.alibi_slopes = slopes.doubles();
    masks.query_documents = query_documents;
    masks.key_documents = key_documents;
    return masks;
  }
};

Operand probabilities_of(const Case& c, const Inputs& in) {
  Operand p = Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t, c.sizes.s});
  attention_probabilities(p, in.q, in.k, in.options, Stream());
  return p;
}

TEST(AttentionProbabilities, AgreeWithReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    probabilities_of(c, in).expect_near(
        reference::attention_probabilities(in.q.doubles(), in.k.doubles(), c.sizes, in.masks()), 1e-6, "p");
  }
}

// What attention itself computes is the sum of the values by these weights.
TEST(AttentionProbabilities, AreThoseOfAttention) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    const reference::Array p = probabilities_of(c, in).doubles();
    const reference::Array v = in.v.doubles();
    const auto& [b_size, t_size, s_size, h_size, k_size, d_size] = c.sizes;
    reference::Array expected = reference::zeros(b_size * t_size * h_size * d_size);
    for (std::int64_t i = 0; i < std::ssize(expected); ++i) {
      const std::int64_t d = i % d_size, h = i / d_size % h_size, t = i / d_size / h_size % t_size;
      const std::int64_t b = i / d_size / h_size / t_size;
      for (std::int64_t s = 0; s < s_size; ++s) {
        reference::at(expected, i) +=
            reference::at(p, ((b * h_size + h) * t_size + t) * s_size + s) *
            reference::at(v, ((b * s_size + s) * k_size + h / (h_size / k_size)) * d_size + d);
      }
    }
    const Operand out = Operand::poisoned({b_size, t_size, h_size, d_size});
    attention_forward(out, {}, in.q, in.k, in.v, in.options, Stream());
    out.expect_near(expected, 3e-6, "out");
  }
}

TEST(AttentionProbabilities, DropoutLeavesThemAsTheyAre) {
  const Case& c = kCases[1];
  Inputs in(c);
  const std::vector<float> expected = probabilities_of(c, in).floats();
  in.options.dropout = {.probability = 0.5F, .key = 3};
  EXPECT_EQ(probabilities_of(c, in).floats(), expected);
}

TEST(AttentionEntropy, IsThatOfTheProbabilities) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    const reference::Array p =
        reference::attention_probabilities(in.q.doubles(), in.k.doubles(), c.sizes, in.masks());
    reference::Array expected = reference::zeros(std::ssize(p) / c.sizes.s);
    for (std::int64_t i = 0; i < std::ssize(p); ++i) {
      const double share = reference::at(p, i);
      reference::at(expected, i / c.sizes.s) -= share > 0.0 ? share * std::log(share) : 0.0;
    }
    const Operand entropy = Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t});
    attention_entropy(entropy, in.q, in.k, in.options, Stream());
    entropy.expect_near(expected, 1e-6, "entropy");
    for (const float value : entropy.floats()) EXPECT_GE(value, 0.0F);
  }
}

TEST(AttentionEntropy, OfAlikeKeysAndOfOne) {
  const Operand q = Operand::random({1, 3, 1, 4}, 1);
  const Operand entropy = Operand::poisoned({1, 1, 3});
  const AttentionOptions options{.scale = 1.0F, .causal = false};
  attention_entropy(entropy, q, Operand::zeros({1, 10, 1, 4}), options, Stream());
  for (const float value : entropy.floats()) EXPECT_NEAR(value, std::log(10.0F), 1e-6F);
  // The other key is so far below that nothing is left for it.
  const Operand ones = Operand::of(std::vector<float>(12, 1.0F));
  const Operand keys = Operand::of({100.0F, 100.0F, 100.0F, 100.0F, -100.0F, 0.0F, 0.0F, 0.0F});
  attention_entropy(entropy, ones.tensor().view({1, 3, 1, 4}), keys.tensor().view({1, 2, 1, 4}), options,
                    Stream());
  for (const float value : entropy.floats()) EXPECT_EQ(value, 0.0F);
}

TEST(AttentionProbabilities, AreTheSameForAnyThreads) {
  const Case c{"", {2, 70, 70, 4, 2, 24}, true, 30};
  const Inputs in(c);
  expect_same_for_any_threads([&] {
    std::vector<float> all = probabilities_of(c, in).floats();
    const Operand entropy = Operand::poisoned({2, 4, 70});
    attention_entropy(entropy, in.q, in.k, in.options, Stream());
    const std::vector<float> entropies = entropy.floats();
    all.insert(all.end(), entropies.begin(), entropies.end());
    return all;
  });
}

TEST(AttentionProbabilitiesDeathTest, MisfitOperands) {
  const Case& c = kCases[3];
  const Inputs in(c);
  const Operand turned = Operand::poisoned({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.s});
  EXPECT_DEATH(attention_probabilities(turned, in.q, in.k, in.options, Stream()),
               "attention_probabilities: p");
  EXPECT_DEATH(attention_entropy(turned, in.q, in.k, in.options, Stream()), "attention_entropy: entropy");
}

}  // namespace
}  // namespace trireme
