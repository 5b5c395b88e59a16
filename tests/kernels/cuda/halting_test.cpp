// Rows that halt by themselves, in bf16: states are rounded, depths and weights are not.
#include "kernels/halting.h"

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/cuda/tolerance.h"
#include "tests/kernels/operand.h"
#include "tests/reference/halting.h"

namespace trireme {
namespace {

using reference::Array;
using reference::at;

constexpr DType kBf16 = DType::kBfloat16;
constexpr float kThreshold = 0.9F;

// Rows that are whole vectors and such that are not, of more than a block has and fewer.
struct Case {
  std::int64_t n, c, loops;
};
constexpr Case kCases[] = {{133, 64, 4}, {5, 33, 3}, {9, 520, 1}};

class CudaHalting : public testing::TestWithParam<Case> {
 protected:
  CudaHalting() {
    for (std::int64_t loop = 0; loop < c.loops; ++loop) {
      const auto seed = static_cast<std::uint64_t>(10 * loop + 1);
      states.push_back(Operand::random({c.n, c.c}, seed, 1.0, {}, kBf16));
      logits.push_back(Operand::random({c.n}, seed + 1, 1.5, {}, kBf16));
      made.push_back(states.back().doubles());
      logit_arrays.push_back(logits.back().doubles());
    }
  }
  void run_forward() {
    for (std::int64_t loop = 0; loop < c.loops; ++loop) {
      const auto i = static_cast<std::size_t>(loop);
      weights.push_back(Operand::poisoned({c.n}));
      halting_forward(mean, states[i], weights[i], remainder, loops,
                      loop > 0 ? states[i - 1].tensor() : Tensor(), logits[i],
                      {.loop = loop, .num_loops = c.loops, .threshold = kThreshold}, test_stream());
    }
  }

  const Case c = GetParam();
  std::vector<Operand> states, logits, weights;
  std::vector<Array> made, logit_arrays;
  const Operand mean = Operand::poisoned({c.n, c.c}, {}, kBf16);
  const Operand remainder = Operand::poisoned({c.n});
  const Operand loops = Operand::of(reference::Tokens(static_cast<std::size_t>(c.n), -1), {c.n});
};

TEST_P(CudaHalting, Forward) {
  run_forward();
  const auto expected = reference::halting(made, logit_arrays, kThreshold, c.n, c.c);
  EXPECT_EQ(loops.tokens(), expected.loops);
  remainder.expect_near(expected.remainder, 1e-6, "remainder");
  Array plain = reference::zeros(c.n * c.c);  // what is kept from loop to loop is rounded
  for (std::size_t loop = 0; loop < states.size(); ++loop) {
    states[loop].expect_near(expected.states[loop], 0.0, "state");
    weights[loop].expect_near(expected.weights[loop], 1e-6, "weight");
    for (std::int64_t i = 0; i < c.n * c.c; ++i) {
      const double added = at(expected.weights[loop], i / c.c) * at(expected.states[loop], i);
      at(plain, i) = rounded(at(plain, i) + added, kBf16);
    }
  }
  expect_as_good_as(mean, plain, expected.mean, "mean");
}

// Each loop by itself: its gradients go in as they are in exact arithmetic, rounded.
TEST_P(CudaHalting, Backward) {
  run_forward();
  const Operand dmean = Operand::random({c.n, c.c}, 101, 1.0, {}, kBf16);
  const Operand dponder = Operand::random({c.n}, 102);
  std::vector<Array> dstates;
  for (std::int64_t loop = 0; loop < c.loops; ++loop) {
    const auto seed = static_cast<std::uint64_t>(200 + loop);
    dstates.push_back(Operand::random({c.n, c.c}, seed, 1.0, {}, kBf16).doubles());
  }
  const auto expected = reference::halting_backward(dmean.doubles(), dponder.doubles(), dstates, made,
                                                    logit_arrays, kThreshold, c.n, c.c);
  const Operand dlogit = Operand::poisoned({c.n}, {}, kBf16);
  const Operand dremainder = Operand::poisoned({c.n});
  const Operand dprevious = Operand::poisoned({c.n, c.c}, {}, kBf16);
  Array passed_on = reference::zeros(c.n * c.c);  // to the loop before
  for (std::size_t loop = states.size(); loop-- > 0;) {
    Operand dstate = Operand::poisoned({c.n, c.c}, {}, kBf16);
    Array entering = reference::zeros(c.n * c.c);
    for (std::int64_t i = 0; i < c.n * c.c; ++i) {
      at(entering, i) = rounded(at(dstates[loop], i) + at(passed_on, i), kBf16);
      dstate.set(i, static_cast<float>(at(entering, i)));
    }
    halting_backward(dlogit, dremainder, dstate, dprevious, dmean, dponder, states[loop], weights[loop],
                     loops, static_cast<std::int64_t>(loop), test_stream());
    expect_as_good_as(dlogit, rounded(expected.dlogits[loop], kBf16), expected.dlogits[loop], "dlogit");
    Array plain = reference::zeros(c.n * c.c), exact = plain;  // of what came in
    const reference::Tokens ran = loops.tokens();
    const Array weight = weights[loop].doubles(), dmeans = dmean.doubles();
    for (std::int64_t i = 0; i < c.n * c.c; ++i) {
      const auto row = static_cast<std::size_t>(i / c.c);
      const bool had_halted = ran[row] <= static_cast<std::int32_t>(loop);
      if (!had_halted) at(exact, i) = at(entering, i) + weight[row] * at(dmeans, i);
      at(plain, i) = rounded(at(exact, i), kBf16);
      at(passed_on, i) = had_halted ? at(entering, i) : 0.0;
    }
    expect_as_good_as(dstate, plain, exact, "dstate");
    dprevious.expect_near(passed_on, 0.0, "dprevious");
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, CudaHalting, testing::ValuesIn(kCases));

}  // namespace
}  // namespace trireme
