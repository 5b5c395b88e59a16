#include "kernels/halting.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/halting.h"

namespace trireme {
namespace {

using reference::Array;

struct Case {
  std::int64_t n, c, loops;
  float threshold;
};

constexpr Case kCases[] = {{1, 1, 1, 0.99F}, {5, 3, 2, 0.9F}, {40, 17, 3, 0.99F}, {133, 64, 6, 0.8F}};

// What loops make of rows, and the halting unit's logits of them: low enough for some rows to run on.
struct Made {
  explicit Made(const Case& c) {
    for (std::int64_t loop = 0; loop < c.loops; ++loop) {
      const auto seed = static_cast<std::uint64_t>(10 * loop + 1);
      states.push_back(Operand::random({c.n, c.c}, seed));
      logits.push_back(Operand::random({c.n}, seed + 1, 1.5));
      state_arrays.push_back(states.back().doubles());
      logit_arrays.push_back(logits.back().doubles());
    }
  }
  std::vector<Operand> states, logits;
  std::vector<Array> state_arrays, logit_arrays;
};

struct Forward {
  Forward(const Case& c, Made& made)
      : mean(Operand::poisoned({c.n, c.c})),
        remainder(Operand::poisoned({c.n})),
        loops(Operand::of(reference::Tokens(static_cast<std::size_t>(c.n), -1), {c.n})) {
    for (std::int64_t loop = 0; loop < c.loops; ++loop) {
      const auto i = static_cast<std::size_t>(loop);
      weights.push_back(Operand::poisoned({c.n}));
      halting_forward(mean, made.states[i], weights[i], remainder, loops,
                      loop > 0 ? made.states[i - 1].tensor() : Tensor(), made.logits[i],
                      {.loop = loop, .num_loops = c.loops, .threshold = c.threshold}, test_stream());
    }
  }
  Operand mean, remainder, loops;
  std::vector<Operand> weights;
};

TEST(Halting, Forward) {
  for (const Case& c : kCases) {
    Made made(c);
    const Forward forward(c, made);
    const auto expected = reference::halting(made.state_arrays, made.logit_arrays, c.threshold, c.n, c.c);
    forward.mean.expect_near(expected.mean, 1e-6, "mean");
    forward.remainder.expect_near(expected.remainder, 1e-6, "remainder");
    EXPECT_EQ(forward.loops.tokens(), expected.loops);
    for (std::size_t loop = 0; loop < made.states.size(); ++loop) {
      made.states[loop].expect_near(expected.states[loop], 0.0, "state");
      forward.weights[loop].expect_near(expected.weights[loop], 1e-6, "weight");
    }
  }
}

TEST(Halting, RowsHaltInEveryLoop) {
  Made made(kCases[3]);
  const auto loops = reference::halting(made.state_arrays, made.logit_arrays, 0.8, 133, 64).loops;
  for (std::int32_t count = 1; count <= 4; ++count)
    EXPECT_GT(std::count(loops.begin(), loops.end(), count), 0) << count;
}

TEST(Halting, Backward) {
  for (const Case& c : kCases) {
    Made made(c);
    const Forward forward(c, made);
    const Operand dmean = Operand::random({c.n, c.c}, 101);
    const Operand dponder = Operand::random({c.n}, 102);
    std::vector<Array> dstates;
    for (std::int64_t loop = 0; loop < c.loops; ++loop)
      dstates.push_back(Operand::random({c.n, c.c}, static_cast<std::uint64_t>(200 + loop)).doubles());
    const auto expected =
        reference::halting_backward(dmean.doubles(), dponder.doubles(), dstates, made.state_arrays,
                                    made.logit_arrays, c.threshold, c.n, c.c);
    const Operand dlogit = Operand::poisoned({c.n});
    const Operand dremainder = Operand::poisoned({c.n});
    const Operand dprevious = Operand::poisoned({c.n, c.c});
    Array passed_on = reference::zeros(c.n * c.c);  // to the loop before
    for (std::size_t loop = made.states.size(); loop-- > 0;) {
      Operand dstate = Operand::zeros({c.n, c.c});
      for (std::int64_t i = 0; i < c.n * c.c; ++i)
        dstate.set(i, static_cast<float>(reference::at(dstates[loop], i) + reference::at(passed_on, i)));
      halting_backward(dlogit, dremainder, dstate, dprevious, dmean, dponder, made.states[loop],
                       forward.weights[loop], forward.loops, static_cast<std::int64_t>(loop), test_stream());
      dstate.expect_near(expected.dmade[loop], 1e-5, "dstate");
      dlogit.expect_near(expected.dlogits[loop], 1e-5, "dlogit");
      passed_on = dprevious.doubles();
    }
    for (const double value : passed_on) EXPECT_EQ(value, 0.0);
  }
}

TEST(Halting, PonderLossCountsRowsThatCount) {
  const Operand loops = Operand::of(reference::Tokens{2, 1, 4, 3}, {4});
  const Operand remainder = Operand::of({0.5F, 1.0F, 0.25F, 0.125F});
  const Operand counted = Operand::of(reference::Tokens{0, 7, -1, 2}, {4});
  const Operand loss = Operand::of({10.0F});
  const Operand dponder = Operand::poisoned({4});
  ponder_loss(loss, dponder, remainder, loops, counted, 0.5F, 0.1F, test_stream());
  loss.expect_near({10.0 + 0.5 * (2 + 1 + 3 + 0.5 + 1.0 + 0.125)}, 1e-6, "loss");
  dponder.expect_near({0.05, 0.05, 0.0, 0.05}, 1e-7, "dponder");
}

TEST(Halting, IsTheSameForAnyThreads) {
  expect_same_for_any_threads([] {
    Made made(kCases[3]);
    return Forward(kCases[3], made).mean.floats();
  });
}

TEST(HaltingDeathTest, LoopsBeyondTheLast) {
  Made made(kCases[0]);
  const Operand x = Operand::poisoned({1});
  const Operand loops = Operand::of(reference::Tokens{0}, {1});
  EXPECT_DEATH(
      halting_forward(made.states[0], made.states[0], x, x, loops, {}, x, {.loop = 1, .num_loops = 1}, {}),
      "loop 1 of 1");
}

}  // namespace
}  // namespace trireme
