// What kernels that are bound by global memory ask of it, beside the least that they could: every operand
// once.  Counted by the virtual GPU; a real one skips.
//
// The limits are what was measured, rounded up.  Bytes that threads ask for exceed the least where all rows
// read the same weights or tables again, which a GPU's caches serve.  Sectors exceed the bytes by 1/16 where
// an operand begins in the middle of a sector, as those of bf16 do here; twofold where a thread has two
// vectors side by side, in two instructions that meet in the cache.
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gated_activation.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/residual.h"
#include "kernels/rope.h"
#include "kernels/sampling.h"
#include "kernels/top_k.h"
#include "tests/kernels/operand.h"
#include "tests/vgpu/counters.h"

namespace trireme {
namespace {

constexpr std::int64_t kRows = 256;
constexpr std::int64_t kWidth = 1024;
constexpr std::int64_t kElements = kRows * kWidth;

class TrafficTest : public testing::Test {
 protected:
  void SetUp() override {
    counters_of_ = reinterpret_cast<decltype(&vgpu_counters)>(dlsym(RTLD_DEFAULT, "vgpu_counters"));
    if (!counters_of_ || !std::getenv("TRIREME_VGPU_COUNTERS"))
      GTEST_SKIP() << "nothing but the virtual GPU counts this, with TRIREME_VGPU_COUNTERS=1";
  }

  // Bytes per byte of the least: those that threads ask for, and the sectors in which they move.
  struct Limits {
    double asked;
    double moved;
  };
  void expect_traffic(const std::function<void()>& op, std::initializer_list<Tensor> read,
                      std::initializer_list<Tensor> written, Limits limits) {
    double least = 0.0;
    for (const auto& tensors : {read, written})
      for (const Tensor& t : tensors) least += static_cast<double>(t.num_elements() * size_bytes(t.dtype()));
    const VgpuCounters before = counters();
    op();
    const VgpuCounters after = counters();
    const double asked = static_cast<double>(after.global_useful_bytes - before.global_useful_bytes) / least;
    const double moved = static_cast<double>(32 * (after.global_sectors - before.global_sectors)) / least;
    EXPECT_GE(asked, 1.0) << "the least is counted wrong";
    EXPECT_LE(asked, limits.asked);
    EXPECT_LE(moved, limits.moved);
  }

  static Operand random(const Shape& shape, DType dtype) {
    return Operand::random(shape, ++seed_, 1.0, {}, dtype);
  }
  static Operand poisoned(const Shape& shape, DType dtype) { return Operand::poisoned(shape, {}, dtype); }

 private:
  VgpuCounters counters() const {
    test_stream().synchronize();
    VgpuCounters result{};
    counters_of_(&result);
    return result;
  }

  decltype(&vgpu_counters) counters_of_ = nullptr;
  static inline std::uint64_t seed_ = 0;
};

class CudaTraffic : public TrafficTest, public testing::WithParamInterface<DType> {
 protected:
  static Operand random(const Shape& shape, DType dtype = GetParam()) {
    return TrafficTest::random(shape, dtype);
  }
  static Operand poisoned(const Shape& shape, DType dtype = GetParam()) {
    return TrafficTest::poisoned(shape, dtype);
  }
};

TEST_P(CudaTraffic, Norm) {
  const Operand residual = random({kRows, kWidth}), branch = random({kRows, kWidth});
  const Operand weight = random({kWidth}), bias = random({kWidth});
  const Operand y = poisoned({kRows, kWidth}), sum = poisoned({kRows, kWidth});
  const Operand mean = poisoned({kRows}, DType::kFloat32), rstd = poisoned({kRows}, DType::kFloat32);
  expect_traffic(
      [&] {
        residual_norm_forward(y, sum, mean, rstd, residual, branch, weight, bias, 1e-5F, {}, test_stream());
      },
      {residual, branch, weight, bias}, {y, sum, mean, rstd}, {1.5, 1.6});

  const Operand dsum = random({kRows, kWidth}), dbranch = poisoned({kRows, kWidth});
  const Operand dweight = random({kWidth}, DType::kFloat32), dbias = random({kWidth}, DType::kFloat32);
  expect_traffic(
      [&] {
        residual_norm_backward(dsum, dbranch, dweight, dbias, y, sum, mean, rstd, weight, {}, test_stream());
      },
      {dsum, y, sum, mean, rstd, weight, dweight, dbias}, {dsum, dbranch, dweight, dbias}, {1.4, 1.49});
}

TEST_P(CudaTraffic, Residual) {
  const Operand residual = random({kRows, kWidth}), branch = random({kRows, kWidth});
  const Operand sum = poisoned({kRows, kWidth});
  expect_traffic([&] { add_residual(sum, residual, branch, {}, {}, test_stream()); }, {residual, branch},
                 {sum}, {1.0, 1.07});
}

TEST_P(CudaTraffic, Gelu) {
  const Operand x = random({kElements}), y = poisoned({kElements});
  expect_traffic([&] { activation_forward(y, x, Activation::kGeluTanh, test_stream()); }, {x}, {y},
                 {1.0, 1.07});
  expect_traffic([&] { activation_backward(y, y, x, Activation::kGeluTanh, test_stream()); }, {y, x}, {y},
                 {1.0, 1.07});
}

TEST_P(CudaTraffic, SwiGlu) {
  const Operand x = random({kRows, 2 * kWidth}), dx = poisoned({kRows, 2 * kWidth});
  const Operand y = poisoned({kRows, kWidth});
  expect_traffic([&] { gated_activation_forward(y, x, Activation::kSilu, test_stream()); }, {x}, {y},
                 {1.0, 1.07});
  expect_traffic([&] { gated_activation_backward(dx, y, x, Activation::kSilu, test_stream()); }, {y, x}, {dx},
                 {1.0, 1.07});
}

// Each head reads its position's row of the tables again.
TEST_P(CudaTraffic, Rope) {
  const Operand x = random({1, kRows, 16, kWidth / 16});
  const Operand cos = random({kRows, kWidth / 32}, DType::kFloat32),
                sin = random({kRows, kWidth / 32}, DType::kFloat32);
  expect_traffic([&] { rope_forward(x, cos, sin, 0, {}, test_stream()); }, {x, cos, sin}, {x}, {1.1, 1.65});
}

TEST_P(CudaTraffic, Embedding) {
  // Every row once, so that the least is known.
  reference::Tokens numbers;
  for (std::int32_t i = 0; i < kRows; ++i) numbers.push_back((i * 37) % static_cast<std::int32_t>(kRows));
  const Operand tokens = Operand::of(numbers, {1, kRows});
  const Operand table = random({kRows, kWidth}), x = poisoned({1, kRows, kWidth});
  expect_traffic([&] { embedding_forward(x, tokens, table, {}, 0, {}, 1.0F, {}, test_stream()); },
                 {tokens, table}, {x}, {1.01, 1.13});
  const Operand dtable = random({kRows, kWidth}, DType::kFloat32);
  expect_traffic([&] { embedding_backward(dtable, {}, x, tokens, {}, 1.0F, {}, test_stream()); },
                 {tokens, x, dtable}, {dtable}, {1.2, 2.02});
}

TEST_P(CudaTraffic, CrossEntropy) {
  const Operand logits = random({kRows, kWidth});
  const Operand targets = Operand::of(random_tokens(kRows, kWidth, 1), {kRows});
  const Operand lse = poisoned({kRows}, DType::kFloat32);
  const Operand at_target = poisoned({kRows}, DType::kFloat32), smoothed = poisoned({kRows}, DType::kFloat32);
  expect_traffic(
      [&] { cross_entropy_forward(lse, at_target, smoothed, logits, targets, 0.1F, test_stream()); },
      {logits, targets}, {lse, at_target, smoothed}, {1.04, 1.37});
  expect_traffic([&] { cross_entropy_backward(logits, logits, lse, targets, 0.1F, 1.0F, test_stream()); },
                 {logits, lse, targets}, {logits}, {1.04, 1.32});
}

// A row is read once to find its likeliest; to find a place in its order, once for each of five digits.  To
// draw takes a pass for the likeliest, one for the sum, and a search for each of top-k, top-p and the draw.
// Beside rows as short as these the sectors count that hold a target, its logit, or a result.
TEST_P(CudaTraffic, Order) {
  const Operand logits = random({kRows, kWidth});
  const Operand tokens = Operand::of(random_tokens(kRows, kWidth, 1), {kRows});
  const Operand hits = Operand::of(reference::Tokens{0}, {1});
  expect_traffic([&] { count_hits(hits, logits, tokens, test_stream()); }, {logits, tokens}, {},
                 {1.05, 1.56});
  const auto sample = [&](const SamplingOptions& options) {
    return [&, options] { sample_tokens(tokens, logits, options, 0, test_stream()); };
  };
  expect_traffic(sample({.temperature = 0.0}), {logits}, {tokens}, {1.01, 1.13});
  expect_traffic(sample({}), {logits}, {tokens}, {7.1, 7.7});
  expect_traffic(sample({.top_k = 40, .top_p = 0.9}), {logits}, {tokens}, {17.1, 18.3});
  const Operand values = poisoned({kRows, 8}, DType::kFloat32);
  const Operand best = Operand::of(random_tokens(kRows * 8, 1, 1), {kRows, 8});
  expect_traffic([&] { top_k(values, best, logits, test_stream()); }, {logits}, {values, best}, {7.1, 8.3});
}

TEST_P(CudaTraffic, Flat) {
  const Operand x = random({kElements}), y = random({kElements});
  const Operand sum = random({1}, DType::kFloat32);
  expect_traffic([&] { fill(y, 1.0F, test_stream()); }, {}, {y}, {1.0, 1.07});
  expect_traffic([&] { accumulate_sum_of_squares(sum, x, test_stream()); }, {x, sum}, {sum}, {1.01, 1.07});
  const DType other = GetParam() == DType::kFloat32 ? DType::kBfloat16 : DType::kFloat32;
  const Operand cast = poisoned({kElements}, other);
  expect_traffic([&] { convert(cast, x, test_stream()); }, {x}, {cast}, {1.0, 1.13});
  // A transposed copy, which cudaMemcpy can't do.
  const Tensor from = x.tensor().view({4, kRows / 4, kWidth}), to = y.tensor().view({4, kRows / 4, kWidth});
  expect_traffic([&] { copy(to.slice(2, 0, kWidth / 2), from.slice(2, kWidth / 2, kWidth), test_stream()); },
                 {from.slice(2, 0, kWidth / 2)}, {to.slice(2, 0, kWidth / 2)}, {1.0, 1.07});
}

using CudaTrafficOfFloats = TrafficTest;
TEST_F(CudaTrafficOfFloats, AdamW) {
  const Operand parameter = random({kElements}, DType::kFloat32), m = random({kElements}, DType::kFloat32);
  const Operand v = Operand::zeros({kElements}), gradient = random({kElements}, DType::kFloat32),
                factors = random({kNumAdamWFactors}, DType::kFloat32);
  // Matrices, and what doesn't decay between them.
  std::vector<AdamWStretch> stretches;
  for (std::int64_t begin = 0; begin < kElements; begin += 1 << 16) {
    const std::int64_t end = begin + (1 << 16);
    stretches.push_back({.begin = begin, .end = end - 768, .weight_decay = 0.1F});
    stretches.push_back({.begin = end - 768, .end = end, .weight_decay = 0.0F});
  }
  const AdamWTable table(stretches, test_device());
  expect_traffic([&] { adamw_step(parameter, {}, m, v, gradient, factors, table, {}, test_stream()); },
                 {parameter, m, v, gradient, factors}, {parameter, m, v}, {1.01, 1.02});
  const Operand rounded = poisoned({kElements}, DType::kBfloat16);
  expect_traffic([&] { adamw_step(parameter, rounded, m, v, gradient, factors, table, {}, test_stream()); },
                 {parameter, m, v, gradient, factors}, {parameter, rounded, m, v}, {1.01, 1.05});
  expect_traffic([&] { accumulate(m, gradient, test_stream()); }, {m, gradient}, {m}, {1.0, 1.0});
}

INSTANTIATE_TEST_SUITE_P(Types, CudaTraffic, testing::Values(DType::kFloat32, DType::kBfloat16),
                         [](const auto& type) { return std::string(name(type.param)); });

}  // namespace
}  // namespace trireme
