#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"

namespace trireme {
namespace {

enum class Documents {
  kNone,
  kPacked,     // cut at the same places for queries and keys, counted from the end
  kUnrelated,  // cut anywhere, some without queries or without keys
  kPadded,     // one document, and at the end keys without queries
};

struct Case {
  reference::AttentionSizes sizes;  // b, t, s, h, k, d
  bool causal;
  float dropout = 0.0F;
  bool packed = false;  // query, key and value heads in one row, as a projection leaves them
  std::int64_t window = 0;
  bool alibi = false;
  Documents documents = Documents::kNone;
};

const Case kCases[] = {
    {{1, 1, 1, 1, 1, 1}, true},
    {{1, 1, 1, 1, 1, 1}, false},
    {{2, 5, 5, 2, 2, 3}, true, 0.0F, true},
    {{1, 17, 17, 1, 1, 16}, true},
    {{1, 64, 64, 2, 2, 64}, true, 0.0F, true},
    {{1, 130, 130, 2, 1, 20}, true},
    {{1, 200, 200, 1, 1, 33}, true, 0.3F},
    {{2, 67, 131, 4, 2, 8}, true},
    {{2, 67, 131, 4, 2, 8}, false, 0.2F},
    {{1, 131, 67, 3, 1, 7}, false},
    {{3, 1, 90, 6, 3, 32}, true, 0.0F, true},
    {{1, 3, 129, 2, 2, 5}, false, 0.5F},
    {{1, 96, 96, 2, 2, 80}, true, 0.1F, true},
    {{1, 65, 65, 1, 1, 130}, true},
    {{1, 15, 80, 1, 1, 17}, true, 0.1F},
    // Windows: one key, less than a block, more, more than there are.
    {{1, 100, 100, 1, 1, 8}, true, 0.0F, false, 1},
    {{2, 150, 150, 2, 1, 16}, true, 0.0F, true, 20},
    {{1, 200, 200, 1, 1, 33}, true, 0.3F, false, 100},
    {{1, 70, 70, 1, 1, 4}, true, 0.0F, false, 1000},
    {{1, 150, 150, 2, 2, 16}, false, 0.1F, false, 20},
    {{1, 67, 200, 2, 1, 8}, true, 0.0F, false, 30},
    // The first queries stand before all keys, and see none of them.
    {{1, 200, 67, 2, 1, 8}, false, 0.0F, false, 30},
    {{2, 1, 90, 6, 3, 32}, true, 0.0F, false, 17},
    {{1, 5, 129, 6, 1, 20}, true, 0.2F, false, 64},
    {{1, 5, 129, 4, 2, 36}, false, 0.0F, false, 3},
    {{1, 4, 2, 1, 1, 5}, false, 0.0F, false, 1},
    {{1, 130, 130, 3, 3, 20}, true, 0.0F, false, 0, true},
    {{2, 67, 131, 4, 2, 8}, false, 0.2F, false, 0, true},
    {{1, 2, 131, 4, 2, 8}, false, 0.0F, false, 40, true},
    {{1, 131, 67, 3, 1, 7}, false, 0.0F, false, 20, true},
    {{2, 150, 150, 2, 1, 16}, true, 0.0F, true, 0, false, Documents::kPacked},
    {{2, 150, 150, 2, 1, 16}, false, 0.1F, false, 0, false, Documents::kPacked},
    {{2, 67, 131, 2, 2, 24}, true, 0.0F, false, 25, true, Documents::kPacked},
    {{3, 3, 90, 2, 1, 16}, true, 0.1F, false, 9, true, Documents::kPacked},
    {{3, 200, 150, 2, 1, 8}, false, 0.0F, false, 0, false, Documents::kUnrelated},
    {{3, 100, 200, 2, 1, 8}, true, 0.2F, false, 50, false, Documents::kUnrelated},
    {{4, 6, 200, 2, 2, 8}, false, 0.0F, false, 0, true, Documents::kUnrelated},
    {{2, 100, 140, 2, 1, 16}, false, 0.0F, false, 0, false, Documents::kPadded},
    {{2, 1, 140, 2, 1, 16}, false, 0.0F, false, 0, false, Documents::kPadded},
};

// As many numbers as there are places, which rise now and then.
reference::Tokens documents_of(std::int64_t count, std::uint64_t seed) {
  reference::Tokens documents = random_tokens(count, 40, seed);
  std::int32_t document = -3;
  for (std::int32_t& d : documents) d = document += d < 2 ? d + 1 : 0;
  return documents;
}

// The documents of one sequence's queries and keys.
void append_documents(const Case& c, std::int64_t b, reference::Tokens& queries, reference::Tokens& keys) {
  const std::int64_t longer = std::max(c.sizes.t, c.sizes.s);
  const auto seed = static_cast<std::uint64_t>(10 + b);
  reference::Tokens own_queries = documents_of(longer, seed);
  reference::Tokens own_keys = own_queries;
  if (c.documents == Documents::kUnrelated) own_keys = documents_of(longer, seed + 1000);
  if (c.documents == Documents::kPadded) {
    std::fill(own_queries.begin(), own_queries.end(), 0);
    for (std::int64_t s = 0; s < longer; ++s) {
      own_keys[static_cast<std::size_t>(s)] = s < longer - 60 - 3 * b ? 0 : 1;
    }
  }
  queries.insert(queries.end(), own_queries.end() - c.sizes.t, own_queries.end());
  keys.insert(keys.end(), own_keys.end() - c.sizes.s, own_keys.end());
}

struct Inputs {
  Operand q, k, v, dout;
  Operand slopes;
  reference::Tokens query_documents, key_documents;
  Operand query_documents_operand, key_documents_operand;
  AttentionOptions options;

  Inputs(const Inputs&) = delete;  // the options are views of this object's operands

  explicit Inputs(const Case& c)
      : q(Operand::random({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, 1, 1.5, query_room(c))),
        k(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 2, 1.5, key_room(c))),
        v(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 3, 1.0, key_room(c))),
        dout(Operand::random({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, 4)),
        slopes(Operand::random({c.sizes.h}, 5, 0.1)),
        query_documents_operand(Operand::zeros({0})),
        key_documents_operand(Operand::zeros({0})),
        options{.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.sizes.d))),
                .causal = c.causal,
                .window = c.window,
                .dropout = {.probability = c.dropout, .key = 77, .offset = 8}} {
    if (c.alibi) options.alibi_slopes_H = slopes;
    if (c.documents == Documents::kNone) return;
    for (std::int64_t b = 0; b < c.sizes.b; ++b) append_documents(c, b, query_documents, key_documents);
    set_documents(c);
  }

  // To be called when the documents have changed.
  void set_documents(const Case& c) {
    query_documents_operand = Operand::of(query_documents, {c.sizes.b, c.sizes.t});
    key_documents_operand = Operand::of(key_documents, {c.sizes.b, c.sizes.s});
    options.query_documents_BT = query_documents_operand;
    options.key_documents_BS = key_documents_operand;
  }

  reference::AttentionMasks masks() const {
    reference::AttentionMasks masks(options);
    if (options.alibi_slopes_H) masks.alibi_slopes = slopes.doubles();
    masks.query_documents = query_documents;
    masks.key_documents = key_documents;
    return masks;
  }

  static Shape query_room(const Case& c) {
    if (!c.packed) return {};
    return {c.sizes.b, c.sizes.t, c.sizes.h + 2 * c.sizes.k, c.sizes.d};
  }
  static Shape key_room(const Case& c) {
    if (!c.packed) return {};
    return {c.sizes.b, c.sizes.s + 3, c.sizes.h + 2 * c.sizes.k, c.sizes.d};
  }
};

struct Outputs {
  Operand out, lse, dq, dk, dv;

  explicit Outputs(const Case& c)
      : out(Operand::poisoned({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d})),
        lse(Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t})),
        dq(Operand::poisoned({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, Inputs::query_room(c))),
        dk(Operand::poisoned({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, Inputs::key_room(c))),
        dv(Operand::poisoned({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, Inputs::key_room(c))) {}

  void run(const Inputs& in) {
    attention_forward(out, lse, in.q, in.k, in.v, in.options, test_stream());
    attention_backward(dq, dk, dv, in.dout, out, lse, in.q, in.k, in.v, in.options, test_stream());
  }
};

std::string describe(const Case& c) {
  const auto& s = c.sizes;
  return "B, T, S, H, K, D = " + Shape({s.b * s.t, s.s, s.h, s.k, s.d}).to_string() +
         (c.causal ? " causal" : "") + (c.dropout > 0.0F ? " dropout" : "") + (c.packed ? " packed" : "") +
         (c.window > 0 ? " window " + std::to_string(c.window) : "") + (c.alibi ? " alibi" : "") +
         (c.documents != Documents::kNone ? " documents " + std::to_string(static_cast<int>(c.documents))
                                          : "");
}

TEST(Attention, AgreesWithReference) {
  for (const Case& c : kCases) {
    if (c.sizes.d > 128 && !test_device().is_cpu()) continue;  // CUDA's widest
    SCOPED_TRACE(describe(c));
    const Inputs in(c);
    Outputs got(c);
    got.run(in);
    const auto forward =
        reference::attention(in.q.doubles(), in.k.doubles(), in.v.doubles(), c.sizes, in.masks());
    got.out.expect_near(forward.out, 3e-6, "out");
    got.lse.expect_near(forward.lse, 2e-6, "lse");
    const auto backward = reference::attention_backward(in.dout.doubles(), in.q.doubles(), in.k.doubles(),
                                                        in.v.doubles(), c.sizes, in.masks());
    got.dq.expect_near(backward.dq, 1e-5, "dq");
    got.dk.expect_near(backward.dk, 1e-5, "dk");
    got.dv.expect_near(backward.dv, 1e-5, "dv");
  }
}

TEST(Attention, ForwardWithoutLse) {
  const Case c = kCases[5];
  const Inputs in(c);
  const Outputs with(c);
  const Outputs without(c);
  attention_forward(with.out, with.lse, in.q, in.k, in.v, in.options, test_stream());
  attention_forward(without.out, {}, in.q, in.k, in.v, in.options, test_stream());
  EXPECT_EQ(with.out.floats(), without.out.floats());
}

TEST(Attention, IsTheSameForAnyThreads) {
  for (const Case& c : {Case{{2, 150, 150, 4, 2, 24}, true, 0.1F}, Case{{1, 70, 400, 2, 1, 16}, false},
                        Case{{2, 300, 300, 2, 1, 8}, true, 0.0F, false, 90, true, Documents::kPacked}}) {
    const Inputs in(c);
    expect_same_for_any_threads([&] {
      Outputs got(c);
      got.run(in);
      std::vector<float> all;
      for (const Operand& x : {got.out, got.lse, got.dq, got.dk, got.dv}) {
        const std::vector<float> values = x.floats();
        all.insert(all.end(), values.begin(), values.end());
      }
      return all;
    });
  }
}

// Some of a tensor's heads.
struct Heads {
  std::int64_t begin, end;

  Tensor of(const Operand& x_BTHD) const { return x_BTHD.tensor().slice(2, begin, end); }
  reference::Array of(const reference::Array& x, const Tensor& x_BTHD) const {
    reference::Array part;
    for (std::int64_t i = 0; i < std::ssize(x); ++i) {
      const std::int64_t head = i / x_BTHD.dim(3) % x_BTHD.dim(2);
      if (begin <= head && head < end) part.push_back(reference::at(x, i));
    }
    return part;
  }
};

// Ranks that have some of the heads drop what one rank with all of them does.
TEST(Attention, PartsOfTheHeadsAreAsTheWhole) {
  for (const Case& c : {Case{{2, 70, 70, 6, 3, 20}, true, 0.3F}, Case{{2, 3, 90, 6, 3, 16}, true, 0.3F},
                        Case{{2, 33, 50, 6, 3, 8}, false, 0.5F}}) {
    const Inputs in(c);
    Outputs whole(c);
    whole.run(in);
    const auto expected_lse = whole.lse.doubles();
    for (const Heads& kv : {Heads{0, 1}, Heads{1, 3}, Heads{2, 3}}) {
      SCOPED_TRACE(describe(c) + ", key heads " + std::to_string(kv.begin) + " to " + std::to_string(kv.end));
      const Heads heads{2 * kv.begin, 2 * kv.end};
      Case own = c;
      own.sizes.h = heads.end - heads.begin;
      own.sizes.k = kv.end - kv.begin;
      AttentionOptions options = in.options;
      options.first_head = heads.begin;
      options.mask_heads = c.sizes.h;
      const Outputs part(own);
      const Tensor q = heads.of(in.q), k = kv.of(in.k), v = kv.of(in.v);
      attention_forward(part.out, part.lse, q, k, v, options, test_stream());
      attention_backward(part.dq, part.dk, part.dv, heads.of(in.dout), part.out, part.lse, q, k, v, options,
                         test_stream());
      part.out.expect_near(heads.of(whole.out.doubles(), whole.out), 0.0, "out");
      for (std::int64_t i = 0; i < own.sizes.b * own.sizes.h * own.sizes.t; ++i) {
        const std::int64_t b = i / (own.sizes.h * own.sizes.t), row = i % (own.sizes.h * own.sizes.t);
        EXPECT_EQ(part.lse.doubles()[static_cast<std::size_t>(i)],
                  reference::at(expected_lse, (b * c.sizes.h + heads.begin) * c.sizes.t + row));
      }
      // Into how many sums a gradient is split depends on how many heads there are.
      part.dq.expect_near(heads.of(whole.dq.doubles(), whole.dq), 2e-6, "dq");
      part.dk.expect_near(kv.of(whole.dk.doubles(), whole.dk), 2e-6, "dk");
      part.dv.expect_near(kv.of(whole.dv.doubles(), whole.dv), 2e-6, "dv");
      const auto reference = reference::attention(heads.of(in.q.doubles(), in.q), kv.of(in.k.doubles(), in.k),
                                                  kv.of(in.v.doubles(), in.v), own.sizes, options);
      part.out.expect_near(reference.out, 3e-6, "out of the reference");
    }
  }
}

// A short query at the end of a cache gives the last rows of the whole.
TEST(Attention, LastQueriesOfACache) {
  const Case whole{{1, 40, 40, 2, 2, 16}, true};
  const Inputs in(whole);
  const Outputs all(whole);
  attention_forward(all.out, all.lse, in.q, in.k, in.v, in.options, test_stream());
  const Operand last = Operand::poisoned({1, 3, 2, 16});
  attention_forward(last, {}, in.q.tensor().slice(1, 37, 40), in.k, in.v, in.options, test_stream());
  const reference::Array expected = all.out.doubles();
  last.expect_near({expected.end() - 3 * 2 * 16, expected.end()}, 1e-6, "out");
}

TEST(Attention, LargeScoresDoNotOverflow) {
  const Case c{{1, 80, 80, 1, 1, 16}, true};
  Inputs in(c);
  in.options.scale = 300.0F;
  Outputs got(c);
  got.run(in);
  const auto forward =
      reference::attention(in.q.doubles(), in.k.doubles(), in.v.doubles(), c.sizes, in.options);
  // Scores near 10^4 have absolute errors near 10^-3.
  got.out.expect_near(forward.out, 2e-2, "out");
  got.lse.expect_near(forward.lse, 1e-6, "lse");
  for (const Operand* gradient : {&got.dq, &got.dk, &got.dv}) {
    for (const float x : gradient->floats()) EXPECT_TRUE(std::isfinite(x));
  }
}

TEST(Attention, NanIsSeenWhereItReaches) {
  const Case c{{1, 70, 70, 1, 1, 4}, true};
  Inputs in(c);
  in.k.set(20 * 4 + 1, std::numeric_limits<float>::quiet_NaN());
  const Outputs got(c);
  attention_forward(got.out, got.lse, in.q, in.k, in.v, in.options, test_stream());
  for (std::size_t i = 0; i < 70 * 4; ++i) EXPECT_EQ(std::isnan(got.out.floats()[i]), i / 4 >= 20) << i;
}

// Rows [begin, end) of sequence b of a [B, T, H, D] operand.
reference::Array rows(const Operand& x_BTHD, std::int64_t b, std::int64_t begin, std::int64_t end) {
  const Tensor x = x_BTHD.tensor();
  const std::int64_t row = x.dim(2) * x.dim(3);
  const reference::Array all = x_BTHD.doubles();
  const auto first = all.begin() + b * x.dim(1) * row;
  return {first + begin * row, first + end * row};
}

// An operand of one sequence that holds those rows.
Operand copy_of_rows(const Operand& x_BTHD, std::int64_t b, std::int64_t begin, std::int64_t end) {
  const Tensor x = x_BTHD.tensor();
  Operand copy = Operand::poisoned({1, end - begin, x.dim(2), x.dim(3)});
  const reference::Array values = rows(x_BTHD, b, begin, end);
  for (std::int64_t i = 0; i < std::ssize(values); ++i) {
    copy.set(i, static_cast<float>(values[static_cast<std::size_t>(i)]));
  }
  return copy;
}

// EXPECTs rows [begin, end) of sequence b to be what attention of these rows alone gives.
void expect_alone(const Inputs& in, const Outputs& got, std::int64_t b, std::int64_t begin,
                  std::int64_t end) {
  SCOPED_TRACE(testing::Message() << "sequence " << b << ", rows " << begin << " to " << end);
  const Tensor k = in.k.tensor();
  const Case c{{1, end - begin, end - begin, in.q.tensor().dim(2), k.dim(2), k.dim(3)}, in.options.causal};
  Inputs alone(c);
  alone.q = copy_of_rows(in.q, b, begin, end);
  alone.k = copy_of_rows(in.k, b, begin, end);
  alone.v = copy_of_rows(in.v, b, begin, end);
  alone.dout = copy_of_rows(in.dout, b, begin, end);
  alone.options.window = in.options.window;
  Outputs expected(c);
  expected.run(alone);
  expected.out.expect_near(rows(got.out, b, begin, end), 2e-6, "out");
  expected.dq.expect_near(rows(got.dq, b, begin, end), 5e-6, "dq");
  expected.dk.expect_near(rows(got.dk, b, begin, end), 5e-6, "dk");
  expected.dv.expect_near(rows(got.dv, b, begin, end), 5e-6, "dv");
}

TEST(Attention, PackedDocumentsAreAsEachAlone) {
  for (const bool causal : {true, false}) {
    for (const std::int64_t window : {0, 11}) {
      const Case c{{2, 170, 170, 2, 1, 12}, causal, 0.0F, false, window, false, Documents::kPacked};
      SCOPED_TRACE(describe(c));
      const Inputs in(c);
      Outputs got(c);
      got.run(in);
      for (std::int64_t b = 0; b < 2; ++b) {
        const auto document = [&](std::int64_t t) {
          return in.query_documents.at(static_cast<std::size_t>(b * 170 + t));
        };
        std::int64_t begin = 0;
        for (std::int64_t t = 1; t <= 170; ++t) {
          if (t < 170 && document(t) == document(begin)) continue;
          expect_alone(in, got, b, begin, t);
          begin = t;
        }
      }
    }
  }
}

// Sequences of several lengths in one batch, with anything at all behind their ends.
TEST(Attention, PaddingChangesNothing) {
  constexpr std::int64_t kPadded = 150;
  for (const bool causal : {true, false}) {
    const Case c{{3, kPadded, kPadded, 2, 1, 12}, causal, 0.0F, false, 0, false, Documents::kPadded};
    SCOPED_TRACE(describe(c));
    const std::int64_t lengths[] = {37, kPadded, 1};
    std::vector<reference::Array> results[3];
    for (const float padding : {0.0F, 500.0F}) {
      Inputs in(c);
      for (std::int64_t b = 0; b < 3; ++b) {
        for (std::int64_t t = lengths[b]; t < kPadded; ++t) {
          // No query is of the padding's document.
          in.query_documents.at(static_cast<std::size_t>(b * kPadded + t)) = 8;
          for (std::int64_t e = 0; e < 24; ++e) {
            in.q.set((b * kPadded + t) * 24 + e, padding);
            in.dout.set((b * kPadded + t) * 24 + e, -padding);
          }
          for (std::int64_t e = 0; e < 12; ++e) {
            in.k.set((b * kPadded + t) * 12 + e, padding);
            in.v.set((b * kPadded + t) * 12 + e, padding);
          }
        }
        for (std::int64_t t = 0; t < kPadded; ++t) {
          in.key_documents.at(static_cast<std::size_t>(b * kPadded + t)) = t < lengths[b] ? 0 : 9;
        }
      }
      in.set_documents(c);
      Outputs got(c);
      got.run(in);
      for (std::int64_t b = 0; b < 3; ++b) {
        expect_alone(in, got, b, 0, lengths[b]);
        for (const Operand* x : {&got.out, &got.dq, &got.dk, &got.dv}) {
          results[b].push_back(rows(*x, b, 0, lengths[b]));
          // The padding itself gets nothing.
          for (const double value : rows(*x, b, lengths[b], kPadded)) EXPECT_EQ(value, 0.0);
        }
      }
    }
    for (const auto& result : results) {
      for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(result[i], result[i + 4]) << i;
    }
  }
}

TEST(Attention, WhoSeesNothingGetsNothing) {
  const Case c{{2, 90, 140, 4, 2, 10}, false, 0.1F, false, 0, true, Documents::kUnrelated};
  Inputs in(c);
  // The first sequence's queries have no keys; the second's have some, in the middle.
  for (std::int64_t t = 0; t < 180; ++t) {
    in.query_documents.at(static_cast<std::size_t>(t)) = t < 90 ? 7 : t < 130 ? 1 : t < 140 ? 2 : 3;
  }
  for (std::int64_t s = 0; s < 280; ++s) {
    in.key_documents.at(static_cast<std::size_t>(s)) = s < 140 ? (s < 70 ? 6 : 8) : s < 150 ? 0 : 2;
  }
  in.set_documents(c);
  Outputs got(c);
  got.run(in);
  const float nothing = -std::numeric_limits<float>::infinity();
  const std::vector<float> lse = got.lse.floats();
  for (std::size_t i = 0; i < lse.size(); ++i) {
    const bool sees = i / (4 * 90) == 1 && i % 90 >= 40 && i % 90 < 50;
    EXPECT_EQ(lse[i] == nothing, !sees) << i;
  }
  for (const Operand* x : {&got.out, &got.dq}) {
    for (const double value : rows(*x, 0, 0, 90)) EXPECT_EQ(value, 0.0);
    for (const double value : rows(*x, 1, 0, 40)) EXPECT_EQ(value, 0.0);
    for (const double value : rows(*x, 1, 40, 50)) EXPECT_NE(value, 0.0);
    for (const double value : rows(*x, 1, 50, 90)) EXPECT_EQ(value, 0.0);
  }
  for (const Operand* x : {&got.dk, &got.dv}) {
    for (const double value : rows(*x, 0, 0, 140)) EXPECT_EQ(value, 0.0);
    for (const double value : rows(*x, 1, 0, 10)) EXPECT_EQ(value, 0.0);
    for (const double value : rows(*x, 1, 10, 140)) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Attention, NoQueries) {
  const Case c{{2, 0, 90, 2, 1, 8}, false};
  const Inputs in(c);
  Outputs got(c);
  got.run(in);
  for (const Operand* x : {&got.dk, &got.dv}) {
    for (const double value : x->doubles()) EXPECT_EQ(value, 0.0);
  }
}

// Cost grows with T window, not T T: what lies outside of a window by more than a block is never read.  It
// is NaN here, and 0 times NaN would be NaN.
TEST(Attention, BlocksOutOfSightAreSkipped) {
  constexpr std::int64_t kLength = 900;
  constexpr std::int64_t kBlock = 256;  // more than any device's
  const auto middle = [](std::int64_t t) { return t >= 300 && t < 600; };
  for (const bool by_documents : {false, true}) {
    for (const bool causal : {true, false}) {
      const Case c{{1, kLength, kLength, 1, 1, 4},
                   causal,
                   0.0F,
                   false,
                   by_documents ? 0 : 40,
                   false,
                   by_documents ? Documents::kPacked : Documents::kNone};
      SCOPED_TRACE(describe(c));
      Inputs in(c);
      if (by_documents) {
        for (std::int64_t t = 0; t < kLength; ++t) {
          const std::int32_t document = static_cast<std::int32_t>(t / 20);
          in.query_documents.at(static_cast<std::size_t>(t)) = document;
          in.key_documents.at(static_cast<std::size_t>(t)) = document;
        }
        in.set_documents(c);
      }
      for (std::int64_t i = 0; i < kLength * 4; ++i) {
        if (!middle(i / 4)) continue;
        for (Operand* x : {&in.q, &in.k, &in.v, &in.dout}) x->set(i, std::numeric_limits<float>::quiet_NaN());
      }
      Outputs got(c);
      got.run(in);
      for (const Operand* x : {&got.out, &got.dq, &got.dk, &got.dv}) {
        const std::vector<float> values = x->floats();
        for (std::int64_t i = 0; i < kLength * 4; ++i) {
          const std::int64_t t = i / 4;
          const float value = values.at(static_cast<std::size_t>(i));
          const bool is_far = t < 300 - kBlock || t >= 600 + kBlock;
          EXPECT_TRUE(middle(t) ? std::isnan(value) : !is_far || std::isfinite(value)) << t;
        }
      }
    }
  }
}

TEST(AttentionDeathTest, FallingDocuments) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "only the CPU looks";
  const Case c{{1, 4, 4, 1, 1, 4}, true, 0.0F, false, 0, false, Documents::kPadded};
  Inputs in(c);
  in.key_documents = {0, 1, 1, 0};
  in.set_documents(c);
  const Outputs got(c);
  EXPECT_DEATH(attention_forward(got.out, got.lse, in.q, in.k, in.v, in.options, test_stream()),
               "key_documents falls at 3 of sequence 0");
}

TEST(AttentionDeathTest, MisfitOperands) {
  const Case c{{1, 4, 3, 2, 2, 4}, true};
  const Inputs in(c);
  const Outputs got(c);
  EXPECT_DEATH(attention_forward(got.out, got.lse, in.q, in.k, in.v, in.options, test_stream()),
               "4 queries, 3 keys");
  AttentionOptions of_ranks = in.options;
  of_ranks.causal = false;
  of_ranks.first_head = 3;
  of_ranks.mask_heads = 4;
  EXPECT_DEATH(attention_forward(got.out, got.lse, in.q, in.k, in.v, of_ranks, test_stream()),
               "masks of heads \\[3, 5\\) of 4");
  const Operand three_heads = Operand::random({1, 4, 3, 4}, 1);
  EXPECT_DEATH(attention_forward(got.out, got.lse, in.q, three_heads, three_heads, in.options, test_stream()),
               "2 heads share 3");
}

}  // namespace
}  // namespace trireme
