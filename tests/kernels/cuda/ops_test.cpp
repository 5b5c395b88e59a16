// Ops on bf16, on operands that aren't aligned, and on rows wider than a block's registers.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "tests/kernels/cuda/tolerance.h"
#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"
#include "tests/reference/adamw.h"
#include "tests/reference/dropout.h"
#include "tests/reference/norm.h"

namespace trireme {
namespace {

using reference::Array;
using reference::at;

constexpr float kEpsilon = 1e-5F;
constexpr DType kBf16 = DType::kBfloat16;
constexpr DType kFp32 = DType::kFloat32;

struct NormCase {
  std::int64_t n, c;
  DType dtype, weight_dtype;
  bool branch;
  float dropout;
};

const NormCase kNormCases[] = {
    {5, 64, kBf16, kBf16, true, 0.25F},    {3, 768, kBf16, kFp32, true, 0.0F},
    {70, 33, kBf16, kBf16, true, 0.5F},    {2, 1602, kBf16, kFp32, false, 0.0F},
    {9, 4096, kBf16, kBf16, false, 0.0F},  {1, 8, kBf16, kBf16, true, 0.1F},
    {3, 4096, kFp32, kFp32, true, 0.1F},   {2, 2055, kFp32, kFp32, true, 0.0F},
    {1, 12292, kFp32, kFp32, true, 0.1F},                                          // beyond what threads hold
    {2, 12296, kBf16, kFp32, true, 0.0F},  {2, 21504, kFp32, kFp32, false, 0.0F},  // and beyond shared memory
    {1, 21504, kBf16, kBf16, true, 0.25F}, {1, 2500, kBf16, kFp32, true, 0.2F},
    {1, 20801, kFp32, kFp32, true, 0.0F},
};

Dropout dropout_of(const NormCase& c) {
  return {.probability = c.dropout, .key = 5, .offset = 12};
}
void trace(std::ostream& out, const NormCase& c) {
  out << c.n << " x " << c.c << " " << name(c.dtype) << " weight " << name(c.weight_dtype) << " branch "
      << c.branch << " dropout " << c.dropout;
}
void PrintTo(const NormCase& c, std::ostream* out) {
  trace(*out, c);
}

// Each of them as LayerNorm and as RMSNorm.
class CudaNorm : public testing::TestWithParam<std::tuple<NormCase, bool>> {
 protected:
  const NormCase c = std::get<0>(GetParam());
  const bool is_layer_norm = std::get<1>(GetParam());

  Tensor of_layer_norm(const Operand& x) const { return is_layer_norm ? x.tensor() : Tensor(); }
  Array of_layer_norm(const Array& x) const { return is_layer_norm ? x : Array(); }
};

TEST_P(CudaNorm, Forward) {
  const Shape shape = {c.n, c.c};
  const Operand residual = Operand::random(shape, 1, 3.0, {}, c.dtype);
  const Operand branch = Operand::random(shape, 2, 1.0, {}, c.dtype);
  const Operand weight = Operand::random({c.c}, 3, 1.0, {}, c.weight_dtype);
  const Operand bias = Operand::random({c.c}, 4, 1.0, {}, c.weight_dtype);
  const Operand y = Operand::poisoned(shape, {}, c.dtype);
  const Operand sum = Operand::poisoned(shape, {}, c.dtype);
  const Operand mean = Operand::poisoned({c.n});
  const Operand rstd = Operand::poisoned({c.n});
  residual_norm_forward(y, c.branch ? sum.tensor() : Tensor(), of_layer_norm(mean), rstd, residual,
                        c.branch ? branch.tensor() : Tensor(), weight, of_layer_norm(bias), kEpsilon,
                        dropout_of(c), test_stream());

  const Array branch_if_any = c.branch ? branch.doubles() : Array();
  const auto exact =
      reference::residual_norm(residual.doubles(), branch_if_any, weight.doubles(),
                               of_layer_norm(bias.doubles()), kEpsilon, dropout_of(c), c.n, c.c);
  const Array plain_sum = rounded(exact.sum, c.dtype);
  const auto plain = reference::residual_norm(plain_sum, {}, weight.doubles(), of_layer_norm(bias.doubles()),
                                              kEpsilon, {}, c.n, c.c);
  if (c.branch) expect_as_good_as(sum, plain_sum, exact.sum, "sum");
  expect_as_good_as(y, rounded(plain.y, c.dtype), exact.y, "y");
  if (is_layer_norm) expect_as_good_as(mean, plain.mean, exact.mean, "mean");
  expect_as_good_as(rstd, plain.rstd, exact.rstd, "rstd");
  if (!c.branch) return;
  // In place: the sum replaces the residual.
  const Array expected_y = y.doubles(), expected_sum = sum.doubles();
  residual_norm_forward(y, residual, of_layer_norm(mean), rstd, residual, branch, weight, of_layer_norm(bias),
                        kEpsilon, dropout_of(c), test_stream());
  residual.expect_near(expected_sum, 0.0, "sum in place");
  y.expect_near(expected_y, 0.0, "y in place");
}

TEST_P(CudaNorm, Backward) {
  const Shape shape = {c.n, c.c};
  const Operand sum = Operand::random(shape, 1, 2.0, {}, c.dtype);
  const Operand weight = Operand::random({c.c}, 3, 1.0, {}, c.weight_dtype);
  const Operand dy = Operand::random(shape, 4, 1.0, {}, c.dtype);
  const Operand dsum = Operand::random(shape, 5, 1.0, {}, c.dtype);
  const Operand dbranch = Operand::poisoned(shape, {}, c.dtype);
  const Operand dweight = Operand::random({c.c}, 6);
  const Operand dbias = Operand::random({c.c}, 7);
  const auto forward = reference::residual_norm(sum.doubles(), {}, weight.doubles(),
                                                of_layer_norm(weight.doubles()), kEpsilon, {}, c.n, c.c);
  const Operand mean =
      is_layer_norm ? Operand::of({forward.mean.begin(), forward.mean.end()}) : Operand::poisoned({c.n});
  const Operand rstd = Operand::of({forward.rstd.begin(), forward.rstd.end()});
  auto exact = reference::residual_norm_backward(dsum.doubles(), dy.doubles(), sum.doubles(), forward.mean,
                                                 forward.rstd, weight.doubles(), dropout_of(c), c.n, c.c);
  const Array dweight_before = dweight.doubles(), dbias_before = dbias.doubles();
  for (std::int64_t i = 0; i < c.c; ++i) {
    at(exact.dweight, i) += at(dweight_before, i);
    if (is_layer_norm) at(exact.dbias, i) += at(dbias_before, i);
  }
  residual_norm_backward(dsum, c.branch ? dbranch.tensor() : Tensor(), dweight, of_layer_norm(dbias), dy, sum,
                         of_layer_norm(mean), rstd, weight, dropout_of(c), test_stream());
  expect_as_good_as(dsum, rounded(exact.dsum, c.dtype), exact.dsum, "dsum");
  if (c.branch) expect_as_good_as(dbranch, rounded(exact.dbranch, c.dtype), exact.dbranch, "dbranch");
  dweight.expect_near(exact.dweight, 1e-5, "dweight");
  if (is_layer_norm) dbias.expect_near(exact.dbias, 1e-5, "dbias");
}

INSTANTIATE_TEST_SUITE_P(All, CudaNorm, testing::Combine(testing::ValuesIn(kNormCases), testing::Bool()));

// Many rows: several for each block, and more blocks than the second stage of the sums has warps.
TEST(CudaNormGradients, AddUpOverRows) {
  const std::int64_t n = 5000, c = 8;
  const Operand sum = Operand::random({n, c}, 1), dy = Operand::random({n, c}, 2),
                dsum = Operand::zeros({n, c});
  const Operand weight = Operand::random({c}, 3);
  const Operand dweight = Operand::zeros({c}), dbias = Operand::zeros({c});
  const auto forward =
      reference::residual_norm(sum.doubles(), {}, weight.doubles(), weight.doubles(), kEpsilon, {}, n, c);
  const Operand mean = Operand::of({forward.mean.begin(), forward.mean.end()});
  const Operand rstd = Operand::of({forward.rstd.begin(), forward.rstd.end()});
  const auto exact = reference::residual_norm_backward(
      dsum.doubles(), dy.doubles(), sum.doubles(), forward.mean, forward.rstd, weight.doubles(), {}, n, c);
  residual_norm_backward(dsum, {}, dweight, dbias, dy, sum, mean, rstd, weight, {}, test_stream());
  dweight.expect_near(exact.dweight, 1e-5, "dweight");
  dbias.expect_near(exact.dbias, 1e-5, "dbias");
}

// --- Flat operands. ---

// A flat operand of n elements: from an allocation's first element on, or from one that is aligned to 4 bytes
// only.
class Flat {
 public:
  Flat(std::int64_t n, std::uint64_t seed, DType dtype, bool is_aligned)
      : whole_(Operand::random({n + 2}, seed, 2.0, {}, dtype)),
        begin_(is_aligned ? 0 : 4 / size_bytes(dtype)),
        n_(n) {}

  operator Tensor() const { return whole_.tensor().slice(0, begin_, begin_ + n_); }
  Array doubles() const {
    const Array all = whole_.doubles();
    return {all.begin() + begin_, all.begin() + begin_ + n_};
  }
  // Elements that aren't of the n.
  Array outside() const {
    Array all = whole_.doubles();
    all.erase(all.begin() + begin_, all.begin() + begin_ + n_);
    return all;
  }
  void expect_near(const Array& expected, double tolerance, const char* what) const {
    whole_.expect_guards(what);
    const Array numbers = doubles();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_TRUE(std::abs(numbers[i] - expected[i]) <= tolerance * (1.0 + std::abs(expected[i])))
          << what << "[" << i << "] of " << n_ << " is " << numbers[i] << ", expected " << expected[i];
    }
  }

 private:
  Operand whole_;
  std::int64_t begin_, n_;
};

struct FlatCase {
  std::int64_t n;
  DType dtype;
  bool is_aligned;
  double tolerance() const { return dtype == kBf16 ? 0x1.0p-8 : 1e-6; }  // half of a last bit, and a little
};

const FlatCase kFlatCases[] = {{1, kBf16, true},    {7, kBf16, true},    {8, kBf16, false},
                               {1023, kBf16, true}, {8200, kBf16, true}, {8195, kBf16, false},
                               {4099, kFp32, false}};

void PrintTo(const FlatCase& c, std::ostream* out) {
  *out << c.n << " " << name(c.dtype) << (c.is_aligned ? "" : " not aligned");
}

class CudaFlat : public testing::TestWithParam<FlatCase> {
 protected:
  const FlatCase& c = GetParam();
  Flat operand(std::uint64_t seed) const { return {c.n, seed, c.dtype, c.is_aligned}; }
};

TEST_P(CudaFlat, Fill) {
  const Flat x = operand(1);
  const Array outside = x.outside();
  fill(x, 0.3F, test_stream());
  x.expect_near(Array(static_cast<std::size_t>(c.n), rounded(static_cast<double>(0.3F), c.dtype)), 0.0, "x");
  EXPECT_EQ(x.outside(), outside);
}

TEST_P(CudaFlat, Dropout) {
  const Flat x = operand(1), y = operand(2);
  const Dropout options{.probability = 0.3F, .key = 0xDEADBEEF12345678u, .offset = 0xFFFFFFFF0u};
  const Array expected = reference::dropout(x.doubles(), options);
  dropout(y, x, options, test_stream());
  y.expect_near(expected, c.tolerance(), "y");
  dropout(x, x, options, test_stream());
  x.expect_near(y.doubles(), 0.0, "y in place");
}

TEST_P(CudaFlat, Accumulate) {
  const Flat x = operand(1), y = operand(2);
  Array expected = y.doubles();
  const Array xs = x.doubles();
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += xs[i];
  accumulate(y, x, test_stream());
  y.expect_near(expected, c.tolerance(), "y");
}

TEST_P(CudaFlat, Activation) {
  for (const Activation activation :
       {Activation::kGeluTanh, Activation::kGelu, Activation::kRelu, Activation::kSilu}) {
    const Flat x = operand(1), y = operand(2), dy = operand(3);
    Array expected = x.doubles(), expected_dx = dy.doubles();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected_dx[i] *= reference::activation_derivative(activation, expected[i]);
      expected[i] = reference::activation(activation, expected[i]);
    }
    activation_forward(y, x, activation, test_stream());
    activation_backward(dy, dy, x, activation, test_stream());
    y.expect_near(expected, c.tolerance(), "y");
    dy.expect_near(expected_dx, c.tolerance(), "dx");
  }
}

TEST_P(CudaFlat, SumOfSquares) {
  const Flat x = operand(1);
  double expected = 3.0;
  for (const double number : x.doubles()) expected += number * number;
  const Operand result = Operand::of({3.0F});
  accumulate_sum_of_squares(result, x, test_stream());
  result.expect_near({expected}, 2e-7, "sum");
}

INSTANTIATE_TEST_SUITE_P(All, CudaFlat, testing::ValuesIn(kFlatCases));

// The order of a sum doesn't depend on where its operands lie.
TEST(CudaReduce, SumsAreTheSameAtAnyAddress) {
  const std::int64_t n = 70001;
  const Operand x = Operand::random({n}, 1);
  const Operand y = Operand::zeros({n + 1});
  const Operand zero = Operand::zeros({n});
  copy(y.tensor().slice(0, 1, n + 1), x, test_stream());
  const Operand squares = Operand::of({0.0F, 0.0F}), differences = Operand::of({0.0F, 0.0F});
  for (const bool aligned : {true, false}) {
    const std::int64_t at = aligned ? 0 : 1;
    const Tensor operand = aligned ? x.tensor() : y.tensor().slice(0, 1, n + 1);
    accumulate_sum_of_squares(squares.tensor().slice(0, at, at + 1), operand, test_stream());
    accumulate_sum_of_differences(differences.tensor().slice(0, at, at + 1), operand, zero, test_stream());
  }
  EXPECT_EQ(squares.floats()[0], squares.floats()[1]);
  EXPECT_EQ(differences.floats()[0], differences.floats()[1]);
}

TEST(CudaAdamW, OperandsNeedNotBeAligned) {
  const std::int64_t n = 1030;
  const Flat param(n, 1, kFp32, false), m(n, 2, kFp32, true), v(n, 3, kFp32, false), grad(n, 4, kFp32, false);
  const Flat one(n, 5, kFp32, true);
  fill(v, 0.5F, test_stream());
  Array expected = param.doubles(), expected_m = m.doubles(), expected_v = v.doubles();
  const reference::AdamWUpdate update{
      .learning_rate = 0.01F, .weight_decay = 0.1F, .gradient_scale = 0.25, .step = 3};
  const AdamWTable table({{.begin = 0, .end = n, .weight_decay = 0.1F}}, test_device());
  adamw_step(param, {}, m, v, grad, Operand::of(reference::adamw_factors(update)), table, update.options,
             test_stream());
  reference::adamw_step(expected, expected_m, expected_v, grad.doubles(), update);
  param.expect_near(expected, 1e-6, "param");
  m.expect_near(expected_m, 1e-6, "m");
  v.expect_near(expected_v, 1e-6, "v");
}

TEST(CudaOpsDeathTest, TypesMustAgree) {
  const Operand wide = Operand::zeros({4});
  const Operand narrow = Operand::random({4}, 1, 1.0, {}, kBf16);
  const Operand ids = Operand::of(reference::Tokens{1, 2, 3, 4}, {4});
  EXPECT_DEATH(dropout(wide, narrow, {}, test_stream()), "dropout: y is of float32, bfloat16 expected");
  EXPECT_DEATH(fill(ids, 1.0F, test_stream()), "integers are filled with 0");
  EXPECT_DEATH(accumulate(ids, ids, test_stream()), "x is of int32");
}

}  // namespace
}  // namespace trireme
