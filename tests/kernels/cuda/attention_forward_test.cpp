// bf16 attention, forward, on a CUDA device: all options against double precision.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "kernels/cuda/attention/forward_bf16.h"
#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"

namespace trireme {
namespace {

constexpr std::int64_t kDocumentOfNobody = 1 << 20;

struct Case {
  const char* name;
  reference::AttentionSizes sizes;  // b, t, s, h, k, d
  bool causal = true;
  std::int64_t window = 0;
  bool alibi = false;
  std::int64_t document_size = 0;  // about; 0 for none.  Then some queries see nothing
  float dropout = 0.0F;
  bool packed = false;          // query, key and value heads in one row, as a projection leaves them
  std::int64_t first_head = 0;  // of those that have dropout masks; then other ranks have some more
};

// Documents of c.document_size keys, cut elsewhere in each sequence; the last tenth of the keys is padding.
// Queries stand at the end of the keys; the last quarter of them is of no key's document.
reference::Tokens key_documents(const Case& c) {
  reference::Tokens documents;
  for (std::int64_t b = 0; b < c.sizes.b; ++b) {
    for (std::int64_t s = 0; s < c.sizes.s; ++s) {
      const bool is_padding = s >= c.sizes.s - c.sizes.s / 10;
      documents.push_back(
          static_cast<std::int32_t>(is_padding ? kDocumentOfNobody : (s + 7 * b) / c.document_size));
    }
  }
  return documents;
}
reference::Tokens query_documents(const Case& c) {
  reference::Tokens documents;
  for (std::int64_t b = 0; b < c.sizes.b; ++b) {
    for (std::int64_t t = 0; t < c.sizes.t; ++t) {
      const std::int64_t position = std::max<std::int64_t>(0, t + c.sizes.s - c.sizes.t);
      const bool sees_nothing = t > c.sizes.t * 3 / 4;
      documents.push_back(static_cast<std::int32_t>(sees_nothing ? kDocumentOfNobody - 1
                                                                 : (position + 7 * b) / c.document_size));
    }
  }
  return documents;
}

struct Inputs {
  Operand q, k, v, slopes, query_documents, key_documents;
  reference::AttentionMasks masks;
  AttentionOptions options;

  explicit Inputs(const Case& c)
      : q(Operand::random({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, 1, 1.5, query_room(c),
                          DType::kBfloat16)),
        k(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 2, 1.5, key_room(c),
                          DType::kBfloat16)),
        v(Operand::random({c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}, 3, 1.0, key_room(c),
                          DType::kBfloat16)),
        slopes(Operand::zeros({c.sizes.h})),
        query_documents(Operand::zeros({1})),
        key_documents(Operand::zeros({1})),
        masks({.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.sizes.d))),
               .causal = c.causal,
               .window = c.window,
               .dropout = {.probability = c.dropout, .key = 77, .offset = 8},
               .first_head = c.first_head,
               .mask_heads = c.first_head > 0 ? c.first_head + c.sizes.h + 1 : 0}) {
    if (c.alibi) {
      // The first head has none, which is not to say that the others haven't.
      for (std::int64_t h = 0; h < c.sizes.h; ++h) slopes.set(h, static_cast<float>(h) * 0.03F);
      masks.alibi_slopes = slopes.doubles();
    }
    if (c.document_size > 0) {
      masks.query_documents = trireme::query_documents(c);
      masks.key_documents = trireme::key_documents(c);
      query_documents = Operand::of(masks.query_documents, {c.sizes.b, c.sizes.t});
      key_documents = Operand::of(masks.key_documents, {c.sizes.b, c.sizes.s});
    }
    options = masks.options;
    if (c.alibi) options.alibi_slopes_H = slopes;
    if (c.document_size > 0) {
      options.query_documents_BT = query_documents;
      options.key_documents_BS = key_documents;
    }
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

// The same arithmetic in plain loops: products of bf16 numbers summed in float, exponentials rounded to bf16
// before they weigh the values, out rounded to bf16.
std::vector<float> plain_bf16(const Inputs& in, const reference::Attention& expected, const Case& c) {
  const auto [B, T, S, H, K, D] = c.sizes;
  const std::vector<float> q = in.q.floats(), k = in.k.floats(), v = in.v.floats();
  const auto number = [](float x) { return static_cast<float>(Bfloat16(x)); };
  const auto element = [](const std::vector<float>& x, std::int64_t i) {
    return x[static_cast<std::size_t>(i)];
  };
  std::vector<float> out;
  std::vector<float> scores(static_cast<std::size_t>(S));
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t) {
      for (std::int64_t h = 0; h < H; ++h) {
        float largest = -std::numeric_limits<float>::infinity();
        for (std::int64_t s = 0; s < S; ++s) {
          const std::int64_t distance = t + S - T - s;
          float& score = scores[static_cast<std::size_t>(s)];
          score = 0.0F;
          for (std::int64_t d = 0; d < D; ++d) {
            score += element(q, ((b * T + t) * H + h) * D + d) *
                     element(k, ((b * S + s) * K + h / (H / K)) * D + d);
          }
          score *= in.options.scale;
          if (c.alibi)
            score -= static_cast<float>(in.masks.alibi_slopes[static_cast<std::size_t>(h)]) *
                     static_cast<float>(std::abs(distance));
          const bool is_hidden =
              (c.causal && distance < 0) || (c.window > 0 && std::abs(distance) >= c.window) ||
              (c.document_size > 0 && in.masks.query_documents[static_cast<std::size_t>(b * T + t)] !=
                                          in.masks.key_documents[static_cast<std::size_t>(b * S + s)]);
          if (is_hidden) score = -std::numeric_limits<float>::infinity();
          largest = std::max(largest, score);
        }
        float sum = 0.0F;
        std::vector<float> row(static_cast<std::size_t>(D), 0.0F);
        for (std::int64_t s = 0; s < S && std::isfinite(largest); ++s) {
          const float p = std::exp(scores[static_cast<std::size_t>(s)] - largest);
          sum += p;
          const double factor = reference::attention_dropout_factor(in.options, c.sizes, b, h, t, s);
          const float weight = number(p) * static_cast<float>(factor);
          for (std::int64_t d = 0; d < D && weight != 0.0F; ++d) {
            row[static_cast<std::size_t>(d)] += weight * element(v, ((b * S + s) * K + h / (H / K)) * D + d);
          }
        }
        for (const float x : row) out.push_back(sum == 0.0F ? 0.0F : number(x / sum));
      }
    }
  }
  EXPECT_EQ(out.size(), expected.out.size());
  return out;
}

// The root of the mean square.
double error(const std::vector<float>& x, const reference::Array& expected) {
  double sum = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - expected[i]) * (x[i] - expected[i]);
  return std::sqrt(sum / static_cast<double>(x.size()));
}
double largest_error(const std::vector<float>& x, const reference::Array& expected) {
  double largest = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double e = std::abs(x[i] - expected[i]);
    if (!(e <= largest)) largest = e;  // NaN, too
  }
  return largest;
}

void expect_right(const Case& c) {
  SCOPED_TRACE(c.name);
  const Inputs in(c);
  const Operand out = Operand::poisoned({c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}, Inputs::query_room(c),
                                        DType::kBfloat16);
  const Operand lse = Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t});
  attention_forward(out, lse, in.q, in.k, in.v, in.options, test_stream());
  const auto expected =
      reference::attention(in.q.doubles(), in.k.doubles(), in.v.doubles(), c.sizes, in.masks);
  out.expect_guards("out");
  lse.expect_near(expected.lse, 1e-5, "lse");
  const std::vector<float> plain = plain_bf16(in, expected, c);
  EXPECT_LE(error(out.floats(), expected.out), 1.5 * error(plain, expected.out) + 1e-30);
  EXPECT_LE(largest_error(out.floats(), expected.out), 2.0 * largest_error(plain, expected.out) + 1e-30);
}

// The kernel of each width; rows that are no multiple of the tiles, causal or not, T != S.
TEST(AttentionForward, Widths) {
  for (const Case& c : {
           Case{.name = "32", .sizes = {1, 150, 150, 2, 2, 32}},
           Case{.name = "64", .sizes = {1, 150, 150, 1, 1, 64}},
           Case{.name = "64, full", .sizes = {1, 70, 131, 1, 1, 64}, .causal = false},
           Case{.name = "96", .sizes = {1, 140, 200, 1, 1, 96}},
           Case{.name = "128", .sizes = {1, 129, 257, 1, 1, 128}},
           Case{.name = "128, full", .sizes = {1, 131, 67, 1, 1, 128}, .causal = false},
           Case{.name = "16", .sizes = {1, 33, 33, 1, 1, 16}},
           Case{.name = "40, zeros behind", .sizes = {2, 130, 130, 1, 1, 40}},
           Case{.name = "80, zeros behind", .sizes = {1, 66, 66, 2, 2, 80}, .packed = true},
           Case{.name = "20, unaligned", .sizes = {1, 130, 130, 2, 1, 20}},
           Case{.name = "33, unaligned", .sizes = {1, 65, 129, 1, 1, 33}, .causal = false, .packed = true},
           Case{.name = "100, unaligned", .sizes = {1, 70, 70, 1, 1, 100}},
           Case{.name = "1, unaligned", .sizes = {1, 20, 20, 1, 1, 1}},
       }) {
    expect_right(c);
  }
}

TEST(AttentionForward, Lengths) {
  for (const std::int64_t t : {1, 15, 17, 31, 64, 127, 128, 129}) {
    expect_right({.name = "causal", .sizes = {1, t, t, 1, 1, 32}});
    expect_right({.name = "full", .sizes = {1, t, t + 3, 1, 1, 32}, .causal = false});
  }
}

TEST(AttentionForward, Options) {
  for (const Case& c : {
           Case{.name = "heads that share keys", .sizes = {2, 140, 140, 6, 2, 32}, .packed = true},
           Case{.name = "window", .sizes = {1, 300, 300, 1, 1, 32}, .window = 70},
           Case{.name = "window of one", .sizes = {1, 140, 150, 1, 1, 32}, .window = 1},
           Case{.name = "window, full", .sizes = {1, 200, 150, 2, 1, 32}, .causal = false, .window = 40},
           Case{.name = "window, cross", .sizes = {1, 90, 260, 1, 1, 32}, .window = 20},
           Case{.name = "alibi", .sizes = {1, 140, 160, 3, 3, 32}, .alibi = true},
           Case{.name = "alibi, full", .sizes = {1, 140, 100, 3, 1, 32}, .causal = false, .alibi = true},
           Case{.name = "documents", .sizes = {2, 300, 300, 1, 1, 32}, .document_size = 50},
           Case{.name = "documents, full",
           .sizes = {2, 150, 300, 2, 2, 32},
           .causal = false,
           .document_size = 130},
           Case{.name = "dropout", .sizes = {1, 140, 140, 2, 2, 32}, .dropout = 0.3F},
           Case{.name = "some heads", .sizes = {2, 70, 70, 2, 1, 64}, .dropout = 0.3F, .first_head = 3},
           Case{.name = "dropout, 128", .sizes = {1, 140, 141, 1, 1, 128}, .dropout = 0.1F},
           Case{.name = "dropout, 96", .sizes = {1, 70, 70, 1, 1, 96}, .causal = false, .dropout = 0.2F},
           Case{.name = "all of it",
           .sizes = {2, 140, 203, 4, 2, 20},
           .window = 90,
           .alibi = true,
           .document_size = 60,
           .dropout = 0.5F,
           .packed = true},
       }) {
    expect_right(c);
  }
}

// Few queries, whose heads are packed.
TEST(AttentionForward, ShortQueries) {
  for (const Case& c : {
           Case{.name = "32", .sizes = {2, 1, 90, 6, 3, 32}, .packed = true},
           Case{.name = "64", .sizes = {1, 5, 90, 8, 1, 64}},
           Case{.name = "64, 16 queries of 3 heads", .sizes = {1, 16, 90, 3, 1, 64}, .causal = false},
           Case{.name = "96", .sizes = {1, 7, 130, 2, 2, 96}, .alibi = true},
           Case{.name = "128", .sizes = {1, 3, 65, 4, 2, 128}, .alibi = true, .dropout = 0.2F},
           Case{.name = "some heads", .sizes = {2, 3, 65, 4, 2, 64}, .dropout = 0.2F, .first_head = 3},
           Case{.name = "unaligned", .sizes = {2, 9, 100, 4, 2, 33}, .window = 40, .dropout = 0.1F},
           Case{.name = "documents", .sizes = {2, 8, 200, 4, 1, 32}, .document_size = 30},
       }) {
    expect_right(c);
  }
}

// Few tiles and many keys: keys are split, and the parts combined.
TEST(AttentionForward, SplitKeys) {
  for (const Case& c : {
           Case{.name = "one query", .sizes = {1, 1, 1100, 2, 1, 64}},
           Case{.name = "an odd number of parts", .sizes = {1, 1, 820, 2, 1, 64}},
           Case{.name = "128, dropout", .sizes = {1, 2, 700, 4, 2, 128}, .dropout = 0.3F},
           Case{.name = "unaligned", .sizes = {2, 3, 600, 2, 2, 33}, .alibi = true, .packed = true},
           Case{.name = "longer queries", .sizes = {1, 133, 560, 1, 1, 32}},
           Case{.name = "longer queries, dropout", .sizes = {1, 40, 520, 2, 1, 96}, .dropout = 0.1F},
           Case{.name = "full", .sizes = {1, 130, 530, 1, 1, 32}, .causal = false},
           // Of which some parts see nothing, some queries see nothing, and some nothing in one part.
           Case{.name = "documents", .sizes = {2, 8, 1100, 2, 1, 32}, .document_size = 100},
           Case{.name = "documents of longer queries", .sizes = {1, 140, 600, 2, 1, 32}, .document_size = 90},
           Case{.name = "window", .sizes = {1, 100, 700, 1, 1, 32}, .window = 300},
       }) {
    expect_right(c);
  }
}

// When keys are split: see above for what comes of it.  The GPU has 108 or more multiprocessors.
TEST(AttentionForward, PlansSplits) {
  const cuda::ForwardTileSize large = {128, 64, 64, false, 3}, small = {16, 64, 64, true, 6};
  const auto num_splits = [&](int b, int t, int s, int h, int k, const cuda::ForwardTileSize& tile) {
    cuda::AttentionParameters<Bfloat16> p;
    p.num_sequences = b;
    p.num_queries = t;
    p.num_keys = s;
    p.num_heads = h;
    p.num_kv_heads = k;
    p.width = 64;
    return cuda::plan_forward(p, tile, *test_stream().cuda()).num_splits;
  };
  EXPECT_EQ(num_splits(1, 1, 1100, 2, 1, small), 4);      // of 18 tiles of keys, at least 4 each
  EXPECT_EQ(num_splits(1, 1, 820, 2, 1, small), 3);       // of 13
  EXPECT_EQ(num_splits(1, 133, 560, 1, 1, large), 2);     // of 9
  EXPECT_EQ(num_splits(1, 1, 500, 2, 1, small), 1);       // of 8
  EXPECT_EQ(num_splits(64, 1, 4096, 32, 32, small), 1);   // enough to do as it is
  EXPECT_EQ(num_splits(1, 1024, 1024, 1, 1, large), 1);   // queries aren't few
  EXPECT_GT(num_splits(1, 1, 1 << 20, 8, 8, small), 40);  // as many as there is room for
}

TEST(AttentionForward, WithoutLse) {
  for (const Case& c : {Case{.name = "", .sizes = {1, 140, 140, 1, 1, 32}},
                        Case{.name = "split", .sizes = {1, 3, 520, 1, 1, 32}}}) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    const Operand with = Operand::poisoned({1, c.sizes.t, 1, 32}, {}, DType::kBfloat16);
    const Operand without = Operand::poisoned({1, c.sizes.t, 1, 32}, {}, DType::kBfloat16);
    const Operand lse = Operand::poisoned({1, 1, c.sizes.t});
    attention_forward(with, lse, in.q, in.k, in.v, in.options, test_stream());
    attention_forward(without, {}, in.q, in.k, in.v, in.options, test_stream());
    EXPECT_EQ(with.floats(), without.floats());
  }
}

TEST(AttentionForward, LargeScoresDoNotOverflow) {
  const Case c{.name = "", .sizes = {1, 140, 140, 1, 1, 16}};
  Inputs in(c);
  in.options.scale = in.masks.options.scale = 300.0F;
  const Operand out = Operand::poisoned({1, 140, 1, 16}, {}, DType::kBfloat16);
  const Operand lse = Operand::poisoned({1, 1, 140});
  attention_forward(out, lse, in.q, in.k, in.v, in.options, test_stream());
  const auto expected =
      reference::attention(in.q.doubles(), in.k.doubles(), in.v.doubles(), c.sizes, in.masks);
  lse.expect_near(expected.lse, 1e-6, "lse");
  out.expect_near(expected.out, 2e-2, "out");
}

// Values of keys that no query of a tile sees are not touched, not even to be multiplied by 0: NaN would
// tell.
TEST(AttentionForward, HiddenBlocksAreSkipped) {
  struct Hidden {
    Case attention;
    std::int64_t nan_begin, nan_end;        // keys
    std::int64_t finite_begin, finite_end;  // queries
  };
  const Case causal{.name = "causal", .sizes = {1, 256, 256, 1, 1, 32}};
  const Case window{.name = "window", .sizes = {1, 100, 300, 1, 1, 32}, .window = 60};
  const Case few{.name = "few queries", .sizes = {1, 8, 300, 1, 1, 32}, .causal = false, .window = 60};
  // The first tile's queries are of documents 6 and later, the second's of 8 and later.
  const Case documents{
      .name = "documents", .sizes = {1, 200, 640, 1, 1, 32}, .causal = false, .document_size = 64};
  for (const auto& [c, nan_begin, nan_end, finite_begin, finite_end] : {
           Hidden{causal, 128, 256, 0, 128},
           Hidden{window, 0, 128, 0, 100},
           Hidden{few, 0, 192, 0, 8},
           Hidden{documents, 0, 384, 0, 200},
           Hidden{documents, 0, 512, 128, 200},
       }) {
    SCOPED_TRACE(c.name);
    Inputs in(c);
    for (std::int64_t i = nan_begin * c.sizes.d; i < nan_end * c.sizes.d; ++i) {
      in.v.set(i, std::numeric_limits<float>::quiet_NaN());
    }
    const Operand out = Operand::poisoned({1, c.sizes.t, 1, c.sizes.d}, {}, DType::kBfloat16);
    attention_forward(out, {}, in.q, in.k, in.v, in.options, test_stream());
    const std::vector<float> values = out.floats();
    for (std::int64_t i = finite_begin * c.sizes.d; i < finite_end * c.sizes.d; ++i) {
      ASSERT_TRUE(std::isfinite(values[static_cast<std::size_t>(i)])) << i;
    }
  }
}

}  // namespace
}  // namespace trireme
