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
  Operand query_numbers, key_numbers;  // the same, on the device
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
        query_numbers(Operand::of(query_documents, {std::ssize(query_documents)})),
        key_numbers(Operand::of(key_documents, {std::ssize(key_documents)})),
        options{.scale = 0.3F, .causal = c.causal, .window = c.window} {
    if (c.alibi) options.alibi_slopes_H = slopes.tensor().slice(0, 0, c.sizes.h);
    if (query_documents.empty()) return;
    options.query_documents_BT = query_numbers.tensor().view({c.sizes.b, c.sizes.t});
    options.key_documents_BS = key_numbers.tensor().view({c.sizes.b, c.sizes.s});
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
  attention_probabilities(p, in.q, in.k, in.options, test_stream());
  return p;
}

// Of rows of probabilities.
reference::Array entropies_of(const reference::Array& p, std::int64_t num_keys) {
  reference::Array entropies = reference::zeros(std::ssize(p) / num_keys);
  for (std::int64_t i = 0; i < std::ssize(p); ++i) {
    const double share = reference::at(p, i);
    reference::at(entropies, i / num_keys) -= share > 0.0 ? share * std::log(share) : 0.0;
  }
  return entropies;
}

TEST(AttentionProbabilities, AgreeWithReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    probabilities_of(c, in).expect_near(
        reference::attention_probabilities(in.q.doubles(), in.k.doubles(), c.sizes, in.masks()), 1e-6, "p");
  }
}

// On a CUDA device queries and keys may be bfloat16: the exact result of the rounded numbers.
TEST(AttentionProbabilities, OfBfloat16) {
  if (test_stream().device().is_cpu()) return;
  for (const std::int64_t width : {20, 64, 128}) {  // not, and a multiple of 16 bytes
    const reference::AttentionSizes sizes = {2, 37, 37, 4, 2, width};
    const Operand q = Operand::random({2, 37, 4, width}, 1, 1.5, {}, DType::kBfloat16);
    const Operand k = Operand::random({2, 37, 2, width}, 2, 1.5, {}, DType::kBfloat16);
    const AttentionOptions options{.scale = 0.2F};
    const reference::Array expected = reference::attention_probabilities(q.doubles(), k.doubles(), sizes,
                                                                         reference::AttentionMasks(options));
    const Operand p = Operand::poisoned({2, 4, 37, 37}), entropy = Operand::poisoned({2, 4, 37});
    attention_probabilities(p, q, k, options, test_stream());
    p.expect_near(expected, 1e-6, "p");
    attention_entropy(entropy, q, k, options, test_stream());
    entropy.expect_near(entropies_of(expected, 37), 1e-6, "entropy");
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
    attention_forward(out, {}, in.q, in.k, in.v, in.options, test_stream());
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
    const reference::Array expected = entropies_of(p, c.sizes.s);
    const Operand entropy = Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t});
    attention_entropy(entropy, in.q, in.k, in.options, test_stream());
    entropy.expect_near(expected, 1e-6, "entropy");
    for (const float value : entropy.floats()) EXPECT_GE(value, 0.0F);
  }
}

TEST(AttentionEntropy, OfAlikeKeysAndOfOne) {
  const Operand q = Operand::random({1, 3, 1, 4}, 1);
  const Operand entropy = Operand::poisoned({1, 1, 3});
  const AttentionOptions options{.scale = 1.0F, .causal = false};
  attention_entropy(entropy, q, Operand::zeros({1, 10, 1, 4}), options, test_stream());
  for (const float value : entropy.floats()) EXPECT_NEAR(value, std::log(10.0F), 1e-6F);
  // The other key is so far below that nothing is left for it.
  const Operand ones = Operand::of(std::vector<float>(12, 1.0F));
  const Operand keys = Operand::of({100.0F, 100.0F, 100.0F, 100.0F, -100.0F, 0.0F, 0.0F, 0.0F});
  attention_entropy(entropy, ones.tensor().view({1, 3, 1, 4}), keys.tensor().view({1, 2, 1, 4}), options,
                    test_stream());
  for (const float value : entropy.floats()) EXPECT_EQ(value, 0.0F);
}

TEST(AttentionProbabilities, AreTheSameForAnyThreads) {
  const Case c{"", {2, 70, 70, 4, 2, 24}, true, 30};
  const Inputs in(c);
  expect_same_for_any_threads([&] {
    std::vector<float> all = probabilities_of(c, in).floats();
    const Operand entropy = Operand::poisoned({2, 4, 70});
    attention_entropy(entropy, in.q, in.k, in.options, test_stream());
    const std::vector<float> entropies = entropy.floats();
    all.insert(all.end(), entropies.begin(), entropies.end());
    return all;
  });
}

TEST(AttentionProbabilitiesDeathTest, MisfitOperands) {
  const Case& c = kCases[3];
  const Inputs in(c);
  const Operand turned = Operand::poisoned({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.s});
  EXPECT_DEATH(attention_probabilities(turned, in.q, in.k, in.options, test_stream()),
               "attention_probabilities: p");
  EXPECT_DEATH(attention_entropy(turned, in.q, in.k, in.options, test_stream()),
               "attention_entropy: entropy");
}

}  // namespace
}  // namespace trireme
