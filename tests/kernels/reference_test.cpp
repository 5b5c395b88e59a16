// The oracle itself: every reference gradient against finite differences of its forward.
#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "kernels/cross_entropy.h"
#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"
#include "tests/reference/attention.h"
#include "tests/reference/cross_entropy.h"
#include "tests/reference/embedding.h"
#include "tests/reference/halting.h"
#include "tests/reference/linear.h"
#include "tests/reference/norm.h"
#include "tests/reference/rope.h"

namespace trireme {
namespace {

using reference::Array;

Array draw(std::int64_t count, std::uint64_t seed) {
  return Operand::random({count}, seed).doubles();
}

double dot(const Array& a, const Array& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a.at(i) * b.at(i);
  return sum;
}

// EXPECTs `gradient` to be that of `loss` by x, which `loss` reads.
void expect_gradient(Array& x, const Array& gradient, const std::function<double()>& loss, const char* what) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(x.size(), gradient.size()) << what;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double before = x[i];
    x[i] = before + kStep;
    const double above = loss();
    x[i] = before - kStep;
    const double below = loss();
    x[i] = before;
    EXPECT_NEAR(gradient[i], (above - below) / (2.0 * kStep), 1e-7 * (1.0 + std::abs(gradient[i])))
        << what << "[" << i << "]";
  }
}

TEST(Reference, Linear) {
  Array x = draw(3 * 4, 1);
  Array w = draw(5 * 4, 2);
  Array bias = draw(5, 3);
  const Array dy = draw(3 * 5, 4);
  const auto loss = [&] { return dot(dy, reference::linear(x, w, bias, 3, 4, 5)); };
  const auto gradients = reference::linear_backward(dy, x, w, 3, 4, 5);
  expect_gradient(x, gradients.dx, loss, "dx");
  expect_gradient(w, gradients.dw, loss, "dw");
  expect_gradient(bias, gradients.dbias, loss, "dbias");
}

TEST(Reference, Activations) {
  for (const Activation activation :
       {Activation::kGeluTanh, Activation::kGelu, Activation::kRelu, Activation::kSilu}) {
    Array x = draw(20, 1);
    Array derivative;
    for (const double value : x) derivative.push_back(reference::activation_derivative(activation, value));
    const auto loss = [&] {
      double sum = 0.0;
      for (const double value : x) sum += reference::activation(activation, value);
      return sum;
    };
    expect_gradient(x, derivative, loss, "x");
  }
}

TEST(Reference, ResidualNorm) {
  const std::int64_t n = 3;
  const std::int64_t c = 5;
  const Dropout dropout{.probability = 0.4F, .key = 3};
  Array residual = draw(n * c, 1);
  Array branch = draw(n * c, 2);
  Array weight = draw(c, 3);
  const Array dy = draw(n * c, 5);
  const Array dsum = draw(n * c, 6);
  for (Array bias : {draw(c, 4), Array()}) {  // LayerNorm, RMSNorm
    const auto forward = [&] {
      return reference::residual_norm(residual, branch, weight, bias, 1e-5, dropout, n, c);
    };
    const auto loss = [&] { return dot(dy, forward().y) + dot(dsum, forward().sum); };
    const auto at_start = forward();
    const auto gradients = reference::residual_norm_backward(dsum, dy, at_start.sum, at_start.mean,
                                                             at_start.rstd, weight, dropout, n, c);
    expect_gradient(residual, gradients.dsum, loss, "dresidual");
    expect_gradient(branch, gradients.dbranch, loss, "dbranch");
    expect_gradient(weight, gradients.dweight, loss, "dweight");
    expect_gradient(bias, gradients.dbias, loss, "dbias");
  }
}

TEST(Reference, Attention) {
  const reference::AttentionSizes sizes{.b = 2, .t = 3, .s = 5, .h = 4, .k = 2, .d = 3};
  for (const bool causal : {false, true}) {
    reference::AttentionMasks options(
        {.scale = 0.7F, .causal = causal, .window = 3, .dropout = {.probability = 0.3F, .key = 1}});
    options.alibi_slopes = {0.5, 0.0, -0.3, 1.0};
    options.query_documents = {0, 1, 1, 2, 2, 4};
    options.key_documents = {0, 0, 1, 1, 1, 1, 2, 2, 3, 3};
    Array q = draw(sizes.b * sizes.t * sizes.h * sizes.d, 1);
    Array k = draw(sizes.b * sizes.s * sizes.k * sizes.d, 2);
    Array v = draw(sizes.b * sizes.s * sizes.k * sizes.d, 3);
    const Array dout = draw(sizes.b * sizes.t * sizes.h * sizes.d, 4);
    const auto loss = [&] { return dot(dout, reference::attention(q, k, v, sizes, options).out); };
    const auto gradients = reference::attention_backward(dout, q, k, v, sizes, options);
    expect_gradient(q, gradients.dq, loss, "dq");
    expect_gradient(k, gradients.dk, loss, "dk");
    expect_gradient(v, gradients.dv, loss, "dv");
  }
}

TEST(Reference, Rope) {
  const reference::Tokens positions = {0, 3, 7};
  const Array frequencies = {1.0, 0.1};
  Array x = draw(3 * 2 * 4, 1);
  const Array dy = draw(3 * 2 * 4, 2);
  const auto loss = [&] { return dot(dy, reference::rope(x, positions, frequencies, 1.2, 1.0, 2)); };
  expect_gradient(x, reference::rope(dy, positions, frequencies, 1.2, -1.0, 2), loss, "dx");
}

TEST(Reference, Embedding) {
  const reference::Tokens tokens = {1, 0, 1, 1, 2, 0};
  const reference::Tokens positions = {0, 1, 2, 0, 0, 1};
  const Dropout dropout{.probability = 0.4F, .key = 3};
  Array token_table = draw(3 * 4, 1);
  Array position_table = draw(3 * 4, 2);
  const Array dx = draw(6 * 4, 3);
  Array dtokens = reference::zeros(3 * 4);
  Array dpositions = reference::zeros(3 * 4);
  reference::embedding_backward(dtokens, dpositions, dx, tokens, positions, 2.0, dropout, 4);
  const auto loss = [&] {
    return dot(dx, reference::embedding(tokens, token_table, position_table, positions, 2.0, dropout, 4));
  };
  expect_gradient(token_table, dtokens, loss, "dtoken_table");
  expect_gradient(position_table, dpositions, loss, "dposition_table");
}

TEST(Reference, Halting) {
  const std::int64_t n = 7;
  const std::int64_t c = 3;
  std::vector<Array> made, logits, dstates;
  for (std::uint64_t loop = 0; loop < 4; ++loop) {
    made.push_back(draw(n * c, 3 * loop + 1));
    logits.push_back(draw(n, 3 * loop + 2));
    dstates.push_back(draw(n * c, 3 * loop + 3));
  }
  const Array dmean = draw(n * c, 20);
  const Array dremainder = draw(n, 21);
  const auto loss = [&] {
    const auto forward = reference::halting(made, logits, 0.8, n, c);
    double sum = dot(dmean, forward.mean) + dot(dremainder, forward.remainder);
    for (std::size_t loop = 0; loop < made.size(); ++loop) sum += dot(dstates[loop], forward.states[loop]);
    return sum;
  };
  const auto gradients = reference::halting_backward(dmean, dremainder, dstates, made, logits, 0.8, n, c);
  for (std::size_t loop = 0; loop < made.size(); ++loop) {
    expect_gradient(made[loop], gradients.dmade[loop], loss, "dmade");
    expect_gradient(logits[loop], gradients.dlogits[loop], loss, "dlogits");
  }
}

TEST(Reference, CrossEntropy) {
  const reference::Tokens targets = {2, kIgnoredTarget, 0};
  Array logits = draw(3 * 6, 1);
  const double smoothing = 0.3;
  const auto loss = [&] {
    const auto forward = reference::cross_entropy(logits, targets, smoothing, 6);
    double sum = 0.0;
    for (std::size_t n = 0; n < 3; ++n) sum += 0.5 * (forward.lse[n] - forward.smoothed_logit[n]);
    return sum;
  };
  const Array lse = reference::cross_entropy(logits, targets, smoothing, 6).lse;
  expect_gradient(logits, reference::cross_entropy_backward(logits, lse, targets, smoothing, 0.5, 6), loss,
                  "dlogits");
}

}  // namespace
}  // namespace trireme
