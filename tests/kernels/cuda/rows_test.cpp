// Ops on rows that lie apart, in bf16, aligned and not: embeddings, gated activations, RoPE, cross-entropy.
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cross_entropy.h"
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
