// The fp32 attention kernels: every width that is compiled, and widths between; sizes around their tiles;
// options crossed with one another.  tests/kernels/attention_test.cpp, which also runs here, has what any
// device must do.
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"

namespace trireme {
namespace {

// How keys and queries are cut into documents.
enum class Documents {
  kNone,
  kPacked,  // several in a row, cut at odd places
  kPadded,  // one, of which the last third of the keys is none
  kApart,   // the first quarter of the queries is of a document without keys
};

struct Case {
  reference::AttentionSizes sizes;  // b, t, s, h, k, d
  bool causal = true;
  std::int64_t window = 0;
  bool alibi = false;
  Documents documents = Documents::kNone;
  float dropout = 0.0F;
  // Elements between one row's heads and the next row's.
  std::int64_t gap = 0;
};

std::string describe(const Case& c) {
  const auto& s = c.sizes;
  return "B, T, S = " + Shape({s.b, s.t, s.s}).to_string() +
         " H, K, D = " + Shape({s.h, s.k, s.d}).to_string() + (c.causal ? " causal" : "") + " window " +
         std::to_string(c.window) + (c.alibi ? " alibi" : "") + " documents " +
         std::to_string(static_cast<int>(c.documents)) + " dropout " + std::to_string(c.dropout) + " gap " +
         std::to_string(c.gap);
}

class Problem {
 public:
  explicit Problem(const Case& c)
      : sizes(c.sizes),
        q(Operand::random(queries(), 1, 1.2, room(queries(), c.gap))),
        k(Operand::random(keys(), 2, 1.2, room(keys(), c.gap))),
        v(Operand::random(keys(), 3, 1.0, room(keys(), c.gap))),
        dout(Operand::random(queries(), 4, 1.0, room(queries(), c.gap))),
        out(Operand::poisoned(queries(), room(queries(), c.gap))),
        lse(Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t})),
        dq(Operand::poisoned(queries(), room(queries(), c.gap))),
        dk(Operand::poisoned(keys(), room(keys(), c.gap))),
        dv(Operand::poisoned(keys(), room(keys(), c.gap))),
        masks(AttentionOptions{.scale = 1.0F / std::sqrt(static_cast<float>(c.sizes.d)),
                               .causal = c.causal,
                               .window = c.window,
                               .dropout = {.probability = c.dropout, .key = 91, .offset = 12}}) {
    if (c.alibi) set_slopes();
    if (c.documents != Documents::kNone) set_documents(c.documents);
  }

  void forward() { attention_forward(out, lse, q, k, v, options(), test_stream()); }
  void backward() { attention_backward(dq, dk, dv, dout, out, lse, q, k, v, options(), test_stream()); }
  AttentionOptions options() const {
    AttentionOptions options = masks.options;
    if (slopes_) options.alibi_slopes_H = *slopes_;
    if (query_documents_) options.query_documents_BT = *query_documents_;
    if (key_documents_) options.key_documents_BS = *key_documents_;
    return options;
  }

  struct Expected {
    reference::Attention forward;
    reference::AttentionGradients gradients;
  };
  Expected expected() const {
    return {
        reference::attention(q.doubles(), k.doubles(), v.doubles(), sizes, masks),
        reference::attention_backward(dout.doubles(), q.doubles(), k.doubles(), v.doubles(), sizes, masks)};
  }
  void expect_right() const {
    const Expected expected = this->expected();
    out.expect_near(expected.forward.out, 5e-6, "out");
    lse.expect_near(expected.forward.lse, 2e-6, "lse");
    dq.expect_near(expected.gradients.dq, 1e-5, "dq");
    dk.expect_near(expected.gradients.dk, 1e-5, "dk");
    dv.expect_near(expected.gradients.dv, 1e-5, "dv");
  }
  std::vector<std::vector<float>> results() const {
    return {out.floats(), lse.floats(), dq.floats(), dk.floats(), dv.floats()};
  }

  Shape queries() const { return {sizes.b, sizes.t, sizes.h, sizes.d}; }
  Shape keys() const { return {sizes.b, sizes.s, sizes.k, sizes.d}; }

  reference::AttentionSizes sizes;
  Operand q, k, v, dout, out, lse, dq, dk, dv;
  reference::AttentionMasks masks;

 private:
  static Shape room(const Shape& shape, std::int64_t gap) {
    if (gap == 0) return {};
    return {shape[0], shape[1] + 1, shape[2] + 1, shape[3] + gap};
  }
  void set_slopes() {
    std::vector<float> slopes;
    for (std::int64_t h = 0; h < sizes.h; ++h)
      slopes.push_back(std::exp2(-8.0F * static_cast<float>(h + 1) / static_cast<float>(sizes.h)));
    masks.alibi_slopes = {slopes.begin(), slopes.end()};
    slopes_ = std::make_unique<Operand>(Operand::of(slopes));
  }
  void set_documents(Documents documents) {
    // Queries are the last of the keys' positions.
    for (std::int64_t b = 0; b < sizes.b; ++b) {
      for (std::int64_t t = 0; t < sizes.t; ++t)
        masks.query_documents.push_back(document(documents, b, t + sizes.s - sizes.t, t < sizes.t / 4));
      for (std::int64_t s = 0; s < sizes.s; ++s) {
        const bool is_padding = documents == Documents::kPadded && s >= sizes.s - sizes.s / 3;
        masks.key_documents.push_back(is_padding ? 1000 : document(documents, b, s, false));
      }
    }
    query_documents_ = std::make_unique<Operand>(Operand::of(masks.query_documents, {sizes.b, sizes.t}));
    key_documents_ = std::make_unique<Operand>(Operand::of(masks.key_documents, {sizes.b, sizes.s}));
  }
  static std::int32_t document(Documents documents, std::int64_t b, std::int64_t position, bool is_early) {
    if (documents == Documents::kApart) return is_early ? -5 : 3;
    if (documents == Documents::kPadded) return 7;
    return static_cast<std::int32_t>((position + 1000 + 11 * b) / 37);
  }

  std::unique_ptr<Operand> slopes_, query_documents_, key_documents_;
};

const Case kCases[] = {
    // Widths of heads: those of the kernels, and between; rows that begin at multiples of 16 bytes, and not.
    {{1, 70, 70, 2, 2, 32}},
    {{1, 70, 70, 2, 2, 64}},
    {{1, 70, 70, 1, 1, 96}},
    {{1, 70, 70, 1, 1, 128}},
    {{1, 70, 70, 1, 1, 40}},
    {{1, 70, 70, 1, 1, 80}},
    {{1, 70, 70, 1, 1, 100}},
    {{1, 70, 70, 1, 1, 20}, false, 0, false, Documents::kNone, 0.0F, 4},
    {{1, 70, 70, 2, 1, 20}, true, 0, false, Documents::kNone, 0.0F, 3},
    {{2, 70, 70, 2, 1, 33}, false, 0, false, Documents::kNone, 0.0F, 1},
    {{1, 40, 40, 1, 1, 127}, false},
    {{1, 40, 40, 1, 1, 1}, false, 0, false, Documents::kNone, 0.0F, 7},
    // Sizes around the tiles' 32 and 64.
    {{1, 1, 1, 1, 1, 8}},
    {{1, 31, 31, 1, 1, 8}},
    {{1, 32, 32, 1, 1, 8}, false},
    {{1, 33, 33, 1, 1, 8}},
    {{1, 63, 65, 1, 1, 8}},
    {{1, 64, 64, 1, 1, 8}},
    {{1, 65, 63, 1, 1, 8}, false},
    {{1, 257, 257, 1, 1, 8}},
    {{1, 300, 3, 1, 1, 8}, false},
    {{3, 1, 300, 4, 1, 64}},
    // Shared keys and values.
    {{2, 50, 90, 6, 2, 16}},
    {{2, 50, 90, 6, 1, 16}, false, 0, false, Documents::kNone, 0.25F},
    // Windows: of one key, less and more than a tile, of all there is; with queries that see no key at all.
    {{1, 150, 150, 1, 1, 16}, true, 1},
    {{1, 150, 150, 1, 1, 16}, false, 1},
    {{1, 200, 200, 2, 1, 16}, true, 20},
    {{1, 200, 200, 1, 1, 16}, false, 20},
    {{1, 200, 200, 1, 1, 16}, true, 100},
    {{1, 90, 200, 1, 1, 100}, false, 70, true},
    {{1, 100, 100, 1, 1, 16}, false, 1000},
    {{1, 200, 90, 1, 1, 16}, false, 30},
    // Biases, with masks and without.
    {{1, 130, 130, 4, 2, 16}, true, 0, true},
    {{1, 64, 128, 2, 2, 64}, false, 0, true},
    // Documents.
    {{2, 200, 200, 1, 1, 16}, true, 0, false, Documents::kPacked},
    {{2, 200, 200, 1, 1, 64}, false, 0, false, Documents::kPacked},
    {{2, 100, 170, 1, 1, 96}, true, 50, true, Documents::kPacked, 0.1F},
    {{2, 70, 210, 2, 1, 16}, false, 0, false, Documents::kPadded},
    {{1, 150, 150, 1, 1, 16}, true, 0, false, Documents::kPadded},
    {{1, 300, 300, 1, 1, 16}, true, 0, false, Documents::kApart, 0.3F},
    {{1, 300, 100, 2, 1, 16}, false, 0, true, Documents::kApart},
    // Dropout.
    {{1, 130, 130, 2, 2, 32}, true, 0, false, Documents::kNone, 0.1F},
    {{2, 67, 131, 4, 2, 20}, false, 40, true, Documents::kNone, 0.5F, 5},
    {{1, 90, 90, 1, 1, 128}, true, 33, true, Documents::kPacked, 0.9F},
};

TEST(AttentionFp32, AgreesWithReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(describe(c));
    Problem problem(c);
    problem.forward();
    problem.backward();
    problem.expect_right();
  }
}

// Rows of a tile beyond the last key have scores of 0, which are large beside these.
TEST(AttentionFp32, VeryNegativeScores) {
  Problem problem(Case{{1, 40, 40, 1, 1, 16}, false});
  for (std::int64_t i = 0; i < 40 * 16; ++i) {
    problem.q.set(i, 8.0F);
    problem.k.set(i, -8.0F);
  }
  problem.forward();
  problem.backward();
  const auto expected = problem.expected();
  problem.out.expect_near(expected.forward.out, 1e-5, "out");
  problem.lse.expect_near(expected.forward.lse, 2e-6, "lse");
  // Scores near -370 (in units of log 2) are rounded to 3e-5.
  problem.dq.expect_near(expected.gradients.dq, 1e-4, "dq");
  problem.dk.expect_near(expected.gradients.dk, 1e-4, "dk");
  problem.dv.expect_near(expected.gradients.dv, 1e-4, "dv");
}

// What nobody sees may hold anything.
TEST(AttentionFp32, UnseenBlocksAreSkipped) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  // The last 40 queries see keys from 300 - 40 - 20 + 1 on.  Of the padded keys those from 100 on are seen.
  const Case by_window{{1, 40, 300, 1, 1, 4}, true, 20};
  const Case by_documents{{1, 100, 300, 1, 1, 4}, false, 0, false, Documents::kPadded};
  for (const Case& c : {by_window, by_documents}) {
    SCOPED_TRACE(describe(c));
    Problem clean(c);
    Problem dirty(c);
    const bool is_window = c.window > 0;
    for (std::int64_t s = is_window ? 0 : 256; s < (is_window ? 192 : 300); ++s) {
      for (std::int64_t d = 0; d < 4; ++d) {
        dirty.k.set(s * 4 + d, kNan);
        dirty.v.set(s * 4 + d, kNan);
      }
    }
    for (Problem* const problem : {&clean, &dirty}) {
      problem->forward();
      problem->backward();
    }
    EXPECT_EQ(clean.results(), dirty.results());
  }
}

TEST(AttentionFp32, QueriesWithoutKeysGiveZeros) {
  // The first 170 queries stand before all keys, and 20 see some of them.
  Problem problem({{1, 200, 30, 1, 1, 8}, false, 20});
  problem.forward();
  problem.backward();
  for (std::size_t t = 0; t <= 150; ++t) {
    EXPECT_EQ(problem.lse.floats()[t], -std::numeric_limits<float>::infinity()) << t;
    for (std::size_t d = 0; d < 8; ++d) {
      EXPECT_EQ(problem.out.floats()[t * 8 + d], 0.0F);
      EXPECT_EQ(problem.dq.floats()[t * 8 + d], 0.0F);
    }
  }
  EXPECT_GT(problem.lse.floats()[151], -std::numeric_limits<float>::infinity());
}

TEST(AttentionFp32, KeysWithoutQueriesGetZeros) {
  Problem problem(Case{{2, 0, 70, 2, 1, 8}});
  problem.forward();
  problem.backward();
  problem.expect_right();
}

TEST(AttentionFp32, IsTheSameEachTime) {
  const Case c{{2, 150, 150, 2, 1, 48}, true, 0, false, Documents::kNone, 0.1F};
  Problem first(c);
  Problem second(c);
  for (Problem* const problem : {&first, &second}) {
    problem->forward();
    problem->backward();
  }
  EXPECT_EQ(first.results(), second.results());
}

}  // namespace
}  // namespace trireme
