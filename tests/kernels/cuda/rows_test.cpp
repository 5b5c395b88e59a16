// Ops on rows that lie apart, in bf16, aligned and not: embeddings, gated activations, RoPE, cross-entropy.
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gated_activation.h"
#include "kernels/rope.h"
#include "tests/kernels/cuda/tolerance.h"
#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"
#include "tests/reference/cross_entropy.h"
#include "tests/reference/embedding.h"
#include "tests/reference/rope.h"

namespace trireme {
namespace {

using reference::Array;
using reference::at;

constexpr DType kBf16 = DType::kBfloat16;
constexpr DType kFp32 = DType::kFloat32;

TEST(CudaRows, GatedActivation) {
  struct Case {
    std::int64_t n, f;
    DType dtype;
  };
  // Rows of one pack, of several ranges, and such as aren't aligned.
  for (const Case& c :
       {Case{3, 8, kBf16}, {2, 4104, kBf16}, {5, 33, kBf16}, {2, 2052, kFp32}, {3, 515, kFp32}}) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.f << " " << name(c.dtype));
    const Operand x = Operand::random({c.n, 2 * c.f}, 1, 2.0, {}, c.dtype);
    const Operand dy = Operand::random({c.n, c.f}, 2, 1.0, {}, c.dtype);
    const Operand y = Operand::poisoned({c.n, c.f}, {}, c.dtype);
    const Operand dx = Operand::poisoned({c.n, 2 * c.f}, {}, c.dtype);
    const Array in = x.doubles(), d = dy.doubles();
    Array value = reference::zeros(c.n * c.f), gradient = reference::zeros(c.n * 2 * c.f);
    for (std::int64_t i = 0; i < c.n * c.f; ++i) {
      const std::int64_t gate = i / c.f * 2 * c.f + i % c.f;
      const double up = at(in, gate + c.f);
      const double passes = reference::activation(Activation::kSilu, at(in, gate));
      at(value, i) = passes * up;
      at(gradient, gate) = at(d, i) * up * reference::activation_derivative(Activation::kSilu, at(in, gate));
      at(gradient, gate + c.f) = at(d, i) * passes;
    }
    gated_activation_forward(y, x, Activation::kSilu, test_stream());
    expect_as_good_as(y, rounded(value, c.dtype), value, "y");
    gated_activation_backward(dx, dy, x, Activation::kSilu, test_stream());
    expect_as_good_as(dx, rounded(gradient, c.dtype), gradient, "dx");
    gated_activation_backward(x, dy, x, Activation::kSilu, test_stream());
    x.expect_near(dx.doubles(), 0.0, "dx in place");
  }
}

TEST(CudaRows, Rope) {
  struct Case {
    std::int64_t b, t, h, d, room;  // other heads in the same rows
    DType dtype;
    bool by_position;
  };
  for (const Case& c : {Case{2, 37, 3, 64, 2, kBf16, false},
                        {1, 9, 20, 128, 0, kBf16, true},
                        {2, 5, 2, 40, 1, kBf16, true},
                        {1, 11, 3, 20, 1, kBf16, false},
                        {1, 3, 1, 6, 0, kFp32, true}}) {
    SCOPED_TRACE(testing::Message() << c.b << " x " << c.t << " x " << c.h << " x " << c.d << " "
                                    << name(c.dtype));
    constexpr std::int64_t kPositions = 50;
    const std::int64_t half = c.d / 2;
    Array frequencies;
    for (std::int64_t r = 0; r < half; ++r)
      frequencies.push_back(std::pow(100.0, -static_cast<double>(r) / static_cast<double>(half)));
    std::vector<float> cos(static_cast<std::size_t>(kPositions * half)), sin = cos;
    rope_table({cos.data(), kFp32, {kPositions, half}}, {sin.data(), kFp32, {kPositions, half}}, frequencies);
    const Operand cos_operand = Operand::of(cos), sin_operand = Operand::of(sin);
    const Tensor cos_PR = cos_operand.tensor().view({kPositions, half});
    const Tensor sin_PR = sin_operand.tensor().view({kPositions, half});

    constexpr std::int64_t kFirst = 7;
    reference::Tokens positions = random_tokens(c.b * c.t, kPositions, 3);
    const Operand positions_BT = Operand::of(positions, {c.b, c.t});
    for (std::int64_t n = 0; !c.by_position && n < c.b * c.t; ++n)
      positions[static_cast<std::size_t>(n)] = static_cast<std::int32_t>(kFirst + n % c.t);

    const Operand x = Operand::random({c.b, c.t, c.h, c.d}, 1, 1.0, {c.b, c.t, c.h + c.room, c.d}, c.dtype);
    const Array before = x.doubles();
    const Array there = reference::rope(before, positions, frequencies, 1.0, 1.0, c.h);
    rope_forward(x, cos_PR, sin_PR, c.by_position ? 0 : kFirst,
                 c.by_position ? positions_BT.tensor() : Tensor(), test_stream());
    expect_as_good_as(x, rounded(there, c.dtype), there, "y");
    const Array turned = x.doubles();
    const Array back = reference::rope(turned, positions, frequencies, 1.0, -1.0, c.h);
    rope_backward(x, cos_PR, sin_PR, c.by_position ? 0 : kFirst,
                  c.by_position ? positions_BT.tensor() : Tensor(), test_stream());
    expect_as_good_as(x, rounded(back, c.dtype), back, "dx");
  }
}

TEST(CudaRows, CrossEntropy) {
  struct Case {
    std::int64_t n, v, padding;
    DType dtype;
    float smoothing;
  };
  for (const Case& c : {Case{4, 50, 14, kBf16, 0.0F},
                        {3, 5003, 5, kBf16, 0.1F},
                        {2, 4101, 0, kBf16, 0.1F},
                        {2, 9001, 7, kFp32, 0.1F}}) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.v << " " << name(c.dtype));
    const Operand logits = Operand::random({c.n, c.v}, 1, 3.0, {c.n, c.v + c.padding}, c.dtype);
    reference::Tokens targets = random_tokens(c.n, static_cast<std::int32_t>(c.v), 2);
    targets[1] = kIgnoredTarget;
    const Operand targets_N = Operand::of(targets, {c.n});
    const Operand lse = Operand::poisoned({c.n});
    const Operand target_logit = Operand::poisoned({c.n}), smoothed_logit = Operand::poisoned({c.n});
    const auto exact = reference::cross_entropy(logits.doubles(), targets, c.smoothing, c.v);
    cross_entropy_forward(lse, target_logit, smoothed_logit, logits, targets_N, c.smoothing, test_stream());
    lse.expect_near(exact.lse, 1e-6, "lse");
    target_logit.expect_near(exact.target_logit, 0.0, "target_logit");
    smoothed_logit.expect_near(exact.smoothed_logit, 1e-6, "smoothed_logit");

    constexpr float kScale = 0.125F;
    const Array gradient = reference::cross_entropy_backward(logits.doubles(), exact.lse, targets,
                                                             c.smoothing, static_cast<double>(kScale), c.v);
    cross_entropy_backward(logits, logits, lse, targets_N, c.smoothing, kScale, test_stream());
    expect_as_good_as(logits, rounded(gradient, c.dtype), gradient, "dlogits");
  }
}

// Three parts of a vocabulary, of which the second begins at no multiple of 16 bytes.
TEST(CudaRows, CrossEntropyOfParts) {
  constexpr std::int64_t n = 3, v = 801;
  constexpr float kSmoothing = 0.1F, kScale = 0.125F;
  const std::int64_t cuts[] = {0, 303, 303, v};
  const Operand logits = Operand::random({n, v}, 1, 3.0, {n, v + 7}, kBf16);
  reference::Tokens targets = random_tokens(n, v, 2);
  targets[1] = kIgnoredTarget;
  const Operand targets_N = Operand::of(targets, {n});
  const Operand parts = Operand::poisoned({3, 3, n});
  const auto of_part = [](Tensor x_NV, const std::int64_t* begin) { return x_NV.slice(1, *begin, begin[1]); };
  for (std::int64_t r = 0; r < 3; ++r) {
    const Tensor part = parts.tensor().slice(0, r, r + 1).squeeze(0);
    cross_entropy_forward(part.slice(0, 0, 1).squeeze(0), part.slice(0, 1, 2).squeeze(0),
                          part.slice(0, 2, 3).squeeze(0), of_part(logits, cuts + r), targets_N, kSmoothing,
                          test_stream(), {cuts[r], v});
  }
  const Operand lse = Operand::poisoned({n});
  const Operand target_logit = Operand::poisoned({n}), smoothed_logit = Operand::poisoned({n});
  cross_entropy_combine(lse, target_logit, smoothed_logit, parts, targets_N, test_stream());
  const auto exact = reference::cross_entropy(logits.doubles(), targets, kSmoothing, v);
  lse.expect_near(exact.lse, 1e-6, "lse");
  target_logit.expect_near(exact.target_logit, 0.0, "target_logit");
  smoothed_logit.expect_near(exact.smoothed_logit, 1e-6, "smoothed_logit");
  const Array gradient = reference::cross_entropy_backward(logits.doubles(), exact.lse, targets, kSmoothing,
                                                           static_cast<double>(kScale), v);
  for (std::int64_t r = 0; r < 3; ++r) {
    const Tensor own = of_part(logits, cuts + r);
    cross_entropy_backward(own, own, lse, targets_N, kSmoothing, kScale, test_stream(), {cuts[r], v});
  }
  expect_as_good_as(logits, rounded(gradient, kBf16), gradient, "dlogits");
}

// Both parts of a table, with more rows than classes that they are dealt out in, get what the whole does.
TEST(CudaRows, EmbeddingOfParts) {
  constexpr std::int64_t kRows = 150, kWidth = 64;
  const Operand tokens_BT = Operand::of(random_tokens(120, kRows, 1), {3, 40});
  const Operand table = Operand::random({kRows, kWidth}, 2, 1.0, {}, kBf16);
  const Operand dx = Operand::random({3, 40, kWidth}, 3, 1.0, {}, kBf16);
  const Operand whole = Operand::poisoned({3, 40, kWidth}, {}, kBf16);
  const Operand dwhole = Operand::random({kRows, kWidth}, 4), dparts = Operand::random({kRows, kWidth}, 4);
  embedding_forward(whole, tokens_BT, table, {}, 0, {}, 3.0F, {}, test_stream());
  embedding_backward(dwhole, {}, dx, tokens_BT, {}, 3.0F, {}, test_stream());
  Array sum = reference::zeros(whole.tensor().num_elements());
  for (const auto& [begin, end] : {std::pair{0, 41}, std::pair{41, 150}}) {
    const Operand x = Operand::poisoned({3, 40, kWidth}, {}, kBf16);
    embedding_forward(x, tokens_BT, table.tensor().slice(0, begin, end), {}, 0, {}, 3.0F, {}, test_stream(),
                      {begin, kRows});
    embedding_backward(dparts.tensor().slice(0, begin, end), {}, dx, tokens_BT, {}, 3.0F, {}, test_stream(),
                       {begin, kRows});
    const Array part = x.doubles();
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  whole.expect_near(sum, 0.0, "sum of parts");
  dparts.expect_near(dwhole.doubles(), 0.0, "dtoken_table");
}

// To gather rows is to embed their numbers by a table that is the rows; back, each gets what was taken of it,
// and nothing is rounded where no row is taken twice.
TEST(CudaRows, EmbeddingGathersRowsAndSpreadsTheirGradients) {
  struct Case {
    std::int64_t c;
    reference::Tokens rows;
  };
  for (const Case& c : {Case{64, {3, 149, 0, 77}}, Case{33, {5, 1, 148}}, Case{520, {9}}}) {
    SCOPED_TRACE(testing::Message() << c.rows.size() << " rows of " << c.c);
    const auto m = static_cast<std::int64_t>(c.rows.size());
    const Operand rows = Operand::of(c.rows, {m, 1});
    const Operand hidden = Operand::random({150, c.c}, 1, 1.0, {}, kBf16);
    const Operand gathered = Operand::poisoned({m, 1, c.c}, {}, kBf16);
    embedding_forward(gathered, rows, hidden, {}, 0, {}, 1.0F, {}, test_stream());
    const Operand dgathered = Operand::random({m, 1, c.c}, 2, 1.0, {}, kBf16);
    const Operand dhidden = Operand::poisoned({150, c.c}, {}, kBf16);
    fill(dhidden, 0.0F, test_stream());
    embedding_backward(dhidden, {}, dgathered, rows, {}, 1.0F, {}, test_stream());
    const Array all = hidden.doubles(), gradient = dgathered.doubles();
    Array expected = reference::zeros(m * c.c), expected_gradient = reference::zeros(150 * c.c);
    for (std::int64_t i = 0; i < m * c.c; ++i) {
      const std::int64_t from = c.rows[static_cast<std::size_t>(i / c.c)] * c.c + i % c.c;
      at(expected, i) = at(all, from);
      at(expected_gradient, from) = at(gradient, i);
    }
    gathered.expect_near(expected, 0.0, "gathered");
    dhidden.expect_near(expected_gradient, 0.0, "dhidden");
    embedding_backward(dhidden, {}, dgathered, rows, {}, 0.5F, {}, test_stream());  // +=
    for (double& number : expected_gradient) number = rounded(1.5 * number, kBf16);
    dhidden.expect_near(expected_gradient, 0.0, "dhidden, twice");
  }
}

// More rows than classes that they are dealt out in, tokens that occur often, and tables of either type.
TEST(CudaRows, Embedding) {
  struct Case {
    std::int64_t b, t, c;
    std::int32_t v;
    DType position_dtype;
    bool by_position;
  };
  for (const Case& c :
       {Case{3, 70, 64, 150, kBf16, true}, {2, 40, 33, 5, kFp32, false}, {1, 65, 2056, 70, kFp32, true}}) {
    SCOPED_TRACE(testing::Message() << c.b << " x " << c.t << " x " << c.c);
    const reference::Tokens tokens = random_tokens(c.b * c.t, c.v, 1);
    reference::Tokens positions = random_tokens(c.b * c.t, static_cast<std::int32_t>(c.t), 2);
    const Operand tokens_BT = Operand::of(tokens, {c.b, c.t});
    const Operand positions_BT = Operand::of(positions, {c.b, c.t});
    for (std::int64_t n = 0; !c.by_position && n < c.b * c.t; ++n)
      positions[static_cast<std::size_t>(n)] = static_cast<std::int32_t>(n % c.t);
    const Tensor given = c.by_position ? positions_BT.tensor() : Tensor();
    const Operand token_table = Operand::random({c.v, c.c}, 3, 1.0, {}, kBf16);
    const Operand position_table = Operand::random({c.t, c.c}, 4, 1.0, {}, c.position_dtype);
    const Operand x = Operand::poisoned({c.b, c.t, c.c}, {}, kBf16);
    const Dropout dropout{.probability = 0.2F, .key = 9, .offset = 400};
    constexpr float kScale = 3.0F;
    const Array exact = reference::embedding(tokens, token_table.doubles(), position_table.doubles(),
                                             positions, kScale, dropout, c.c);
    embedding_forward(x, tokens_BT, token_table, position_table, 0, given, kScale, dropout, test_stream());
    expect_as_good_as(x, rounded(exact, kBf16), exact, "x");

    const Operand dx = Operand::random({c.b, c.t, c.c}, 5, 1.0, {}, kBf16);
    const Operand dtokens = Operand::random({c.v, c.c}, 6), dpositions = Operand::random({c.t, c.c}, 7);
    Array expected_tokens = dtokens.doubles(), expected_positions = dpositions.doubles();
    reference::embedding_backward(expected_tokens, expected_positions, dx.doubles(), tokens, positions,
                                  kScale, dropout, c.c);
    embedding_backward(dtokens, dpositions, dx, tokens_BT, given, kScale, dropout, test_stream());
    dtokens.expect_near(expected_tokens, 1e-5, "dtoken_table");
    dpositions.expect_near(expected_positions, 1e-5, "dposition_table");
  }
}

}  // namespace
}  // namespace trireme
