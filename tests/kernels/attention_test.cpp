#include "kernels/attention.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"

namespace trireme {
namespace {

struct Case {
  reference::AttentionSizes sizes;  // b, t, s, h, k, d
  bool causal;
  float dropout = 0.0F;
  bool packed = false;  // query, key and value heads in one row, as a projection leaves them
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
};

struct Inputs {
  Operand q, k, v, dout;
  AttentionOptions options;

  explicit Inputs(const Case& c)
      : q(Operand::random({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, 1, 1.5, query_room(c))),
        k(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 2, 1.5, key_room(c))),
        v(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 3, 1.0, key_room(c))),
        dout(Operand::random({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, 4)),
        options{.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.sizes.d))),
                .causal = c.causal,
                .dropout = {.probability = c.dropout, .key = 77, .offset = 8}} {}

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
         (c.causal ? " causal" : "") + (c.dropout > 0.0F ? " dropout" : "") + (c.packed ? " packed" : "");
}

TEST(Attention, AgreesWithReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(describe(c));
    const Inputs in(c);
    Outputs got(c);
    got.run(in);
    const auto forward =
        reference::attention(in.q.doubles(), in.k.doubles(), in.v.doubles(), c.sizes, in.options);
    got.out.expect_near(forward.out, 3e-6, "out");
    got.lse.expect_near(forward.lse, 2e-6, "lse");
    const auto backward = reference::attention_backward(in.dout.doubles(), in.q.doubles(), in.k.doubles(),
                                                        in.v.doubles(), c.sizes, in.options);
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
  for (const Case& c : {Case{{2, 150, 150, 4, 2, 24}, true, 0.1F}, Case{{1, 70, 400, 2, 1, 16}, false}}) {
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

TEST(AttentionDeathTest, MisfitOperands) {
  const Case c{{1, 4, 3, 2, 2, 4}, true};
  const Inputs in(c);
  const Outputs got(c);
  EXPECT_DEATH(attention_forward(got.out, got.lse, in.q, in.k, in.v, in.options, test_stream()),
               "4 queries, 3 keys");
  const Operand three_heads = Operand::random({1, 4, 3, 4}, 1);
  EXPECT_DEATH(attention_forward(got.out, got.lse, in.q, three_heads, three_heads, in.options, test_stream()),
               "2 heads share 3");
}

}  // namespace
}  // namespace trireme
