// The gradients of attention in bf16.  out and lse come from the reference.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"

namespace trireme {
namespace {

using reference::Array;
using reference::at;

struct Case {
  reference::AttentionSizes sizes;  // b, t, s, h, k, d
  bool causal;
  struct Options {
    std::int64_t window = 0;
    float dropout = 0.0F;
    bool alibi = false;
    bool documents = false;       // some of them padding, that no query or no key is of
    bool packed = false;          // query, key and value heads in one row, as a projection leaves them
    std::int64_t first_head = 0;  // of those that have dropout masks; then other ranks have some more
  } options = {};
};

const Case kCases[] = {
    {{1, 1, 1, 1, 1, 1}, true},
    {{1, 1, 1, 1, 1, 8}, false},
    {{1, 2, 70, 1, 1, 32}, false},
    {{2, 64, 64, 2, 2, 64}, true, {.packed = true}},
    {{1, 200, 200, 2, 1, 64}, true},
    {{1, 130, 130, 2, 1, 20}, true},
    {{1, 200, 200, 1, 1, 33}, true, {.dropout = 0.3F}},
    {{2, 67, 131, 4, 2, 8}, true, {.packed = true}},
    {{2, 67, 131, 4, 2, 8}, false, {.dropout = 0.2F}},
    {{2, 67, 131, 4, 2, 32}, true, {.dropout = 0.2F, .first_head = 3}},
    {{1, 131, 67, 3, 1, 7}, false},
    {{3, 1, 90, 6, 3, 32}, true, {.packed = true}},
    {{1, 3, 129, 2, 2, 5}, false, {.dropout = 0.5F}},
    {{1, 96, 96, 2, 2, 80}, true, {.dropout = 0.1F, .packed = true}},
    {{1, 270, 270, 1, 1, 128}, true},
    {{1, 128, 256, 1, 1, 128}, false},
    {{1, 150, 130, 2, 2, 128}, false, {.dropout = 0.1F, .alibi = true}},
    {{1, 65, 129, 2, 2, 99}, false, {.alibi = true}},
    {{1, 260, 260, 1, 1, 96}, true, {.window = 70}},
    {{1, 100, 200, 2, 1, 40}, false, {.window = 50, .alibi = true}},
    {{2, 0, 70, 2, 1, 64}, false},
    // The first queries stand before all keys, and see none.
    {{1, 200, 60, 1, 1, 64}, false, {.window = 20}},
    {{1, 257, 257, 1, 1, 32}, true, {.window = 10, .alibi = true}},
    {{2, 150, 150, 2, 1, 64}, true, {.dropout = 0.1F, .documents = true}},
    {{2, 70, 140, 2, 2, 24}, false, {.documents = true}},
    {{1, 140, 140, 4, 2, 112}, true, {.window = 60, .dropout = 0.2F, .alibi = true, .documents = true}},
};

std::string describe(const Case& c) {
  const auto& s = c.sizes;
  std::string text = "B, T, S, H, K, D =";
  for (const std::int64_t size : {s.b, s.t, s.s, s.h, s.k, s.d}) text += " " + std::to_string(size);
  if (c.causal) text += " causal";
  if (c.options.window > 0) text += " window " + std::to_string(c.options.window);
  if (c.options.dropout > 0.0F) text += " dropout";
  if (c.options.alibi) text += " alibi";
  if (c.options.documents) text += " documents";
  if (c.options.packed) text += " packed";
  if (c.options.first_head > 0) text += " some heads";
  return text;
}

// Documents of about 40; from two thirds on a number that the other side doesn't have.
reference::Tokens documents(std::int64_t b, std::int64_t length, std::int32_t padding) {
  reference::Tokens result;
  for (std::int64_t row = 0; row < b; ++row) {
    for (std::int64_t i = 0; i < length; ++i)
      result.push_back(3 * i >= 2 * length + row ? padding : static_cast<std::int32_t>((i + 11 * row) / 40));
  }
  return result;
}

constexpr DType kBf16 = DType::kBfloat16;

struct Inputs {
  Case c;
  reference::AttentionMasks masks{AttentionOptions{}};
  Operand q, k, v, dout, slopes, query_documents, key_documents;
  reference::Attention forward;
  Operand out, lse;

  explicit Inputs(const Case& of)
      : c(of),
        q(Operand::random(query_shape(), 1, 1.5, room(c.sizes.t), kBf16)),
        k(Operand::random(key_shape(), 2, 1.5, room(c.sizes.s + 3), kBf16)),
        v(Operand::random(key_shape(), 3, 1.0, room(c.sizes.s + 3), kBf16)),
        dout(Operand::random(query_shape(), 4, 1.0, {}, kBf16)),
        slopes(Operand::zeros({c.sizes.h})),
        query_documents(Operand::of(documents(c.sizes.b, c.sizes.t, 100), {c.sizes.b, c.sizes.t})),
        key_documents(Operand::of(documents(c.sizes.b, c.sizes.s, 200), {c.sizes.b, c.sizes.s})),
        out(Operand::poisoned(query_shape(), {}, kBf16)),
        lse(Operand::poisoned({c.sizes.b, c.sizes.h, c.sizes.t})) {
    AttentionOptions& options = masks.options;
    options.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.sizes.d)));
    options.causal = c.causal;
    options.window = c.options.window;
    options.dropout = {.probability = c.options.dropout, .key = 77, .offset = 8};
    options.first_head = c.options.first_head;
    options.mask_heads = c.options.first_head > 0 ? c.options.first_head + c.sizes.h + 1 : 0;
    if (c.options.alibi) {
      for (std::int64_t h = 0; h < c.sizes.h; ++h) slopes.set(h, 0.25F / static_cast<float>(h + 1));
      masks.alibi_slopes = slopes.doubles();
      options.alibi_slopes_H = slopes;
    }
    if (c.options.documents) {
      masks.query_documents = documents(c.sizes.b, c.sizes.t, 100);
      masks.key_documents = documents(c.sizes.b, c.sizes.s, 200);
      options.query_documents_BT = query_documents;
      options.key_documents_BS = key_documents;
    }
    compute_forward();
  }

  // Anew, when inputs were changed.
  void compute_forward() {
    forward = reference::attention(q.doubles(), k.doubles(), v.doubles(), c.sizes, masks);
    for (std::int64_t i = 0; i < std::ssize(forward.out); ++i)
      out.set(i, static_cast<float>(at(forward.out, i)));
    for (std::int64_t i = 0; i < std::ssize(forward.lse); ++i)
      lse.set(i, static_cast<float>(at(forward.lse, i)));
  }

  Shape query_shape() const { return {c.sizes.b, c.sizes.t, c.sizes.h, c.sizes.d}; }
  Shape key_shape() const { return {c.sizes.b, c.sizes.s, c.sizes.k, c.sizes.d}; }
  Shape room(std::int64_t length) const {
    if (!c.options.packed) return {};
    return {c.sizes.b, length, c.sizes.h + 2 * c.sizes.k, c.sizes.d};
  }
};

struct Gradients {
  Operand dq, dk, dv;

  explicit Gradients(const Inputs& in)
      : dq(Operand::poisoned(in.query_shape(), in.room(in.c.sizes.t), kBf16)),
        dk(Operand::poisoned(in.key_shape(), in.room(in.c.sizes.s), kBf16)),
        dv(Operand::poisoned(in.key_shape(), in.room(in.c.sizes.s), kBf16)) {}

  void run(const Inputs& in, bool deterministic) const {
    AttentionOptions options = in.masks.options;
    options.deterministic = deterministic;
    attention_backward(dq, dk, dv, in.dout, in.out, in.lse, in.q, in.k, in.v, options, test_stream());
  }
};

float rounded(float x) {
  return static_cast<float>(Bfloat16(x));
}

// What a plain loop makes of the same numbers: sums in float, and rounding where the kernels round.
class PlainLoop {
 public:
  explicit PlainLoop(const Inputs& in)
      : in_(in),
        q_(in.q.floats()),
        k_(in.k.floats()),
        v_(in.v.floats()),
        dout_(in.dout.floats()),
        out_(in.out.floats()),
        dq_(q_.size()),
        dk_(k_.size()),
        dv_(v_.size()) {
    const auto& n = in.c.sizes;
    for (std::int64_t b = 0; b < n.b; ++b) {
      for (std::int64_t h = 0; h < n.h; ++h) {
        for (std::int64_t t = 0; t < n.t; ++t) add_query(b, h, t);
      }
    }
  }

  reference::AttentionGradients gradients() const {
    const AttentionOptions& options = in_.masks.options;
    return {finish(dq_, options.scale), finish(dk_, options.scale),
            finish(dv_, 1.0F / (1.0F - options.dropout.probability))};
  }

 private:
  using Floats = std::vector<float>;

  static float dot(const Floats& a, std::int64_t i, const Floats& b, std::int64_t j, std::int64_t count) {
    float sum = 0.0F;
    for (std::int64_t d = 0; d < count; ++d)
      sum += a[static_cast<std::size_t>(i + d)] * b[static_cast<std::size_t>(j + d)];
    return sum;
  }
  static void add(Floats& sum, std::int64_t i, float factor, const Floats& x, std::int64_t j,
                  std::int64_t count) {
    for (std::int64_t d = 0; d < count; ++d)
      sum[static_cast<std::size_t>(i + d)] += factor * x[static_cast<std::size_t>(j + d)];
  }
  static Array finish(const Floats& x, float factor) {
    Array result;
    for (const float value : x) result.push_back(rounded(value * factor));
    return result;
  }

  bool sees(std::int64_t b, std::int64_t t, std::int64_t s) const {
    const auto& n = in_.c.sizes;
    const std::int64_t distance = t + n.s - n.t - s;
    if (in_.c.causal && distance < 0) return false;
    if (in_.c.options.window > 0 && std::abs(distance) >= in_.c.options.window) return false;
    return !in_.c.options.documents || in_.masks.query_documents.at(static_cast<std::size_t>(b * n.t + t)) ==
                                           in_.masks.key_documents.at(static_cast<std::size_t>(b * n.s + s));
  }

  void add_query(std::int64_t b, std::int64_t h, std::int64_t t) {
    const auto& n = in_.c.sizes;
    const AttentionOptions& options = in_.masks.options;
    const std::int64_t query = ((b * n.t + t) * n.h + h) * n.d;
    const float delta = dot(dout_, query, out_, query, n.d);
    const auto lse = static_cast<float>(at(in_.forward.lse, (b * n.h + h) * n.t + t));
    for (std::int64_t s = 0; s < n.s; ++s) {
      if (!sees(b, t, s)) continue;
      const std::int64_t key = ((b * n.s + s) * n.k + h / (n.h / n.k)) * n.d;
      float score = options.scale * dot(q_, query, k_, key, n.d);
      if (in_.c.options.alibi)
        score -= static_cast<float>(at(in_.masks.alibi_slopes, h) *
                                    static_cast<double>(std::abs(t + n.s - n.t - s)));
      const float probability = std::exp(score - lse);
      const auto factor = static_cast<float>(reference::attention_dropout_factor(options, n, b, h, t, s));
      const float dscore = rounded(probability * (factor * dot(dout_, query, v_, key, n.d) - delta));
      if (factor > 0.0F) add(dv_, key, rounded(probability), dout_, query, n.d);
      add(dk_, key, dscore, q_, query, n.d);
      add(dq_, query, dscore, k_, key, n.d);
    }
  }

  const Inputs& in_;
  Floats q_, k_, v_, dout_, out_;
  Floats dq_, dk_, dv_;
};

struct Error {
  double largest = 0.0, mean_square = 0.0;
};
Error error_of(const Array& x, const Array& exact) {
  Error error;
  for (std::int64_t i = 0; i < std::ssize(exact); ++i) {
    const double difference = std::abs(at(x, i) - at(exact, i));
    // Written so that NaN stays.
    if (!(difference <= error.largest)) error.largest = difference;
    error.mean_square += difference * difference / static_cast<double>(exact.size());
  }
  return error;
}

void expect_as_good(const Operand& x, const Array& plain, const Array& exact, const char* what) {
  x.expect_guards(what);
  const Error error = error_of(x.doubles(), exact), allowed = error_of(plain, exact);
  EXPECT_LE(error.largest, 2.0 * allowed.largest + 1e-6) << what;
  EXPECT_LE(error.mean_square, 4.0 * allowed.mean_square + 1e-12) << what;
}

void expect_gradients(const Gradients& got, const Inputs& in) {
  const auto exact = reference::attention_backward(in.dout.doubles(), in.q.doubles(), in.k.doubles(),
                                                   in.v.doubles(), in.c.sizes, in.masks);
  const auto plain = PlainLoop(in).gradients();
  expect_as_good(got.dq, plain.dq, exact.dq, "dq");
  expect_as_good(got.dk, plain.dk, exact.dk, "dk");
  expect_as_good(got.dv, plain.dv, exact.dv, "dv");
}

TEST(AttentionBackward, AgreesWithReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(describe(c));
    const Inputs in(c);
    for (const bool deterministic : {false, true}) {
      SCOPED_TRACE(deterministic ? "deterministic" : "by atomics");
      const Gradients got(in);
      got.run(in, deterministic);
      expect_gradients(got, in);
    }
  }
}

std::vector<float> bits_of(const Gradients& gradients) {
  std::vector<float> all;
  for (const Operand* x : {&gradients.dq, &gradients.dk, &gradients.dv}) {
    const std::vector<float> values = x->floats();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Sums of three and more blocks of keys, whose order would show.  Two runs give the same; and what is printed
// is the same for any order of blocks and warps: same_in_any_order.sh.
TEST(AttentionBackward, DeterministicBits) {
  std::string bytes;
  for (const Case& c :
       {Case{{1, 500, 500, 2, 1, 64}, true, {.dropout = 0.1F}}, Case{{1, 150, 400, 2, 1, 100}, false}}) {
    const Inputs in(c);
    const Gradients first(in), second(in);
    first.run(in, true);
    second.run(in, true);
    const std::vector<float> values = bits_of(first);
    EXPECT_EQ(values, bits_of(second));
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  std::printf("bits %zx\n", std::hash<std::string>()(bytes));
}

TEST(AttentionBackward, WhatSeesNothingHasNoGradient) {
  const Inputs in({{2, 150, 150, 2, 1, 64}, true, {.documents = true}});
  const auto& n = in.c.sizes;
  for (const bool deterministic : {false, true}) {
    const Gradients got(in);
    got.run(in, deterministic);
    const std::vector<float> dq = got.dq.floats(), dk = got.dk.floats(), dv = got.dv.floats();
    for (std::size_t i = 0; i < dq.size(); ++i) {
      const std::size_t row = i / static_cast<std::size_t>(n.h * n.d);
      if (in.masks.query_documents[row] != 100) continue;
      EXPECT_EQ(dq[i], 0.0F) << "dq of query " << row;
    }
    for (std::size_t i = 0; i < dk.size(); ++i) {
      const std::size_t row = i / static_cast<std::size_t>(n.k * n.d);
      if (in.masks.key_documents[row] != 200) continue;
      EXPECT_EQ(dk[i], 0.0F) << "dk of key " << row;
      EXPECT_EQ(dv[i], 0.0F) << "dv of key " << row;
    }
  }
}

// The zeros beside the last keys would have probabilities of infinity here.
TEST(AttentionBackward, VeryNegativeScores) {
  Inputs in({{1, 70, 70, 1, 1, 32}, false});
  for (std::int64_t i = 0; i < 70 * 32; ++i) {
    in.q.set(i, 6.0F);
    in.k.set(i, -6.0F);
  }
  in.compute_forward();
  for (const bool deterministic : {false, true}) {
    const Gradients got(in);
    got.run(in, deterministic);
    expect_gradients(got, in);
  }
}

}  // namespace
}  // namespace trireme
