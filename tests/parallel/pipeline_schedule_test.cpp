#include "parallel/pipeline_schedule.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/pipeline_forecast.h"

namespace trireme {
namespace {

using Kind = PipelineAction::Kind;

constexpr std::array kKinds{PipelineKind::kGPipe, PipelineKind::kOneForwardOneBackward,
                            PipelineKind::kInterleaved, PipelineKind::kZeroBubble};
constexpr PipelineCosts kEqual[] = {{1.0, 1.0, 1.0}};

// Calls check(shape) for all that are legal, and says how many there were.
template <typename Check>
int for_every_shape(Check check) {
  int num_shapes = 0;
  for (const PipelineKind kind : kKinds) {
    for (int stages = 1; stages <= 8; ++stages) {
      for (int microbatches = 1; microbatches <= 16; ++microbatches) {
        for (int chunks = 1; chunks <= 4; ++chunks) {
          const PipelineShape shape{kind, stages, microbatches, chunks};
          if (why_not(shape)) continue;
          SCOPED_TRACE(std::string(name(kind)) + ", " + std::to_string(stages) + " stages, " +
                       std::to_string(microbatches) + " microbatches, " + std::to_string(chunks) + " chunks");
          check(shape);
          ++num_shapes;
        }
      }
    }
  }
  return num_shapes;
}

TEST(PipelineScheduleTest, EachMicrobatchPassesEachChunkOnceEachWay) {
  const int num_shapes = for_every_shape([](const PipelineShape& shape) {
    for (int stage = 0; stage < shape.num_stages; ++stage) {
      std::map<std::tuple<Kind, int>, int> next;  // microbatch of each kind and chunk: they ascend
      for (const PipelineAction& action : pipeline_schedule(shape, stage)) {
        int& expected = next[{action.kind, action.chunk}];
        ASSERT_EQ(action.microbatch, expected);
        ++expected;
        ASSERT_LT(action.chunk, shape.num_chunks);
        // Never backward before forward, nor weights before input.
        if (action.kind == Kind::kBackward || action.kind == Kind::kBackwardInput) {
          ASSERT_LT(action.microbatch, (next[{Kind::kForward, action.chunk}]));
        }
        if (action.kind == Kind::kBackwardWeights) {
          ASSERT_LT(action.microbatch, (next[{Kind::kBackwardInput, action.chunk}]));
        }
      }
      for (int chunk = 0; chunk < shape.num_chunks; ++chunk) {
        const int whole = next[{Kind::kBackward, chunk}];
        ASSERT_EQ((next[{Kind::kForward, chunk}]), shape.num_microbatches);
        ASSERT_EQ((whole + next[{Kind::kBackwardInput, chunk}]), shape.num_microbatches);
        ASSERT_EQ((whole + next[{Kind::kBackwardWeights, chunk}]), shape.num_microbatches);
      }
    }
  });
  EXPECT_GT(num_shapes, 3 * 8 * 16);
}

TEST(PipelineScheduleTest, NoStageWaitsForever) {
  for_every_shape(
      [](const PipelineShape& shape) { ASSERT_TRUE(forecast(shape, pipeline_schedules(shape), kEqual)); });
}

TEST(PipelineScheduleTest, HoldsAsManyActivationsAsPromised) {
  for_every_shape([](const PipelineShape& shape) {
    const auto found = forecast(shape, pipeline_schedules(shape), kEqual);
    const int p = shape.num_stages;
    const int m = shape.num_microbatches;
    const int v = shape.num_chunks;
    for (int s = 0; s < p; ++s) {
      const int held = found->max_activations[static_cast<std::size_t>(s)];
      EXPECT_EQ(held, max_activations(shape, s)) << "stage " << s;
      switch (shape.kind) {
        case PipelineKind::kGPipe:
          EXPECT_EQ(held, m);
          break;
        case PipelineKind::kOneForwardOneBackward:
          EXPECT_EQ(held, std::min(m, p - s));
          break;
        case PipelineKind::kInterleaved:
          EXPECT_EQ(held, std::min(m * v, 2 * (p - s - 1) + (v - 1) * p + 1));
          break;
        case PipelineKind::kZeroBubble:
          EXPECT_EQ(held, std::min(m, p));
          break;
      }
    }
  });
}

// What one stage sends another, activations or gradients, it takes in the order in which it was sent.
TEST(PipelineScheduleTest, MessagesAreTakenInTheOrderSent) {
  for_every_shape([](const PipelineShape& shape) {
    using Message = std::tuple<int, int>;  // microbatch, chunk of the receiver
    std::map<std::tuple<int, int, bool>, std::vector<Message>> sent, taken;  // from, to, forward
    for (int stage = 0; stage < shape.num_stages; ++stage) {
      for (const PipelineAction& action : pipeline_schedule(shape, stage)) {
        const bool forward = action.kind == Kind::kForward;
        if (const auto to = destination_of(shape, stage, action))
          sent[{stage, to->stage, forward}].emplace_back(action.microbatch, to->chunk);
        if (const auto from = source_of(shape, stage, action))
          taken[{from->stage, stage, forward}].emplace_back(action.microbatch, action.chunk);
      }
    }
    EXPECT_EQ(sent, taken);
  });
}

// The idle time of the table in the header, in units in which F, B and W are of a whole stage.
double published_idle(const PipelineShape& shape, const PipelineCosts& costs) {
  const auto [f, b, w] = costs;
  const int p = shape.num_stages;
  if (shape.kind == PipelineKind::kZeroBubble) return (p - 1) * (f + b - w);
  return (p - 1) * (f + b + w) / shape.num_chunks;
}

TEST(PipelineScheduleTest, BubbleIsThePublishedOne) {
  constexpr std::array kCosts{PipelineCosts{1.0, 1.0, 1.0}, PipelineCosts{2.0, 3.0, 1.0},
                              PipelineCosts{1.0, 1.25, 0.75}};
  for_every_shape([&](const PipelineShape& shape) {
    if (shape.num_microbatches < shape.num_stages) return;
    for (const PipelineCosts& costs : kCosts) {
      const double v = shape.num_chunks;
      const PipelineCosts of_part[] = {
          {costs.forward / v, costs.backward_input / v, costs.backward_weights / v}};
      const auto found = forecast(shape, pipeline_schedules(shape), of_part);
      const double work =
          shape.num_microbatches * (costs.forward + costs.backward_input + costs.backward_weights);
      const double idle = published_idle(shape, costs);
      EXPECT_NEAR(found->makespan, work + idle, 1e-9);
      EXPECT_NEAR(found->bubble, idle / (work + idle), 1e-9);
    }
  });
}

TEST(PipelineScheduleTest, SaysWhatWouldFit) {
  EXPECT_EQ(why_not({PipelineKind::kInterleaved, 4, 6, 2}),
            "interleaved passes microbatches by as many as there are stages, and 4 does not divide 6; 4 or 8 "
            "microbatches fit");
  EXPECT_EQ(why_not({PipelineKind::kInterleaved, 4, 3, 2}),
            "interleaved passes microbatches by as many as there are stages, and 4 does not divide 3; 4 "
            "microbatches fit");
  EXPECT_EQ(why_not({PipelineKind::kInterleaved, 4, 8, 1}),
            "interleaved needs 2 chunks per stage or more; with 1 it is 1f1b");
  EXPECT_EQ(why_not({PipelineKind::kGPipe, 4, 8, 2}),
            "gpipe has 1 chunk per stage, not 2; interleaved takes more");
  EXPECT_TRUE(why_not({PipelineKind::kGPipe, 0, 8}));
  EXPECT_TRUE(why_not({PipelineKind::kGPipe, 1, 0}));
}

TEST(PipelineScheduleTest, HasANameForEachKind) {
  for (const PipelineKind kind : kKinds) EXPECT_EQ(pipeline_kind(name(kind)), kind);
  EXPECT_FALSE(pipeline_kind("none"));
}

TEST(PipelineForecastTest, FindsADeadlock) {
  const PipelineShape shape{PipelineKind::kOneForwardOneBackward, 2, 2};
  PipelineSchedules schedules = pipeline_schedules(shape);
  EXPECT_TRUE(forecast(shape, schedules, kEqual));
  // Stage 0 wants the gradient of 1 before it sends 0, for which stage 1 waits.
  using enum Kind;
  schedules[0] = {{kForward, 1}, {kBackward, 1}, {kForward, 0}, {kBackward, 0}};
  EXPECT_FALSE(forecast(shape, schedules, kEqual));
}

TEST(PipelineForecastTest, UnevenStagesWaitForTheSlowest) {
  const PipelineShape shape{PipelineKind::kGPipe, 2, 10};
  const std::array costs{PipelineCosts{1.0, 1.0, 1.0}, PipelineCosts{2.0, 2.0, 2.0}};
  const auto found = forecast(shape, pipeline_schedules(shape), costs);
  EXPECT_NEAR(found->makespan, 1 + 10 * (2 + 4) + 2, 1e-9);
  EXPECT_NEAR(found->bubble, 1 - (30.0 + 60.0) / (2 * 63.0), 1e-9);
}

std::string picture(const PipelineShape& shape) {
  return "\n" + timeline(*forecast(shape, pipeline_schedules(shape), kEqual));
}

TEST(PipelineForecastTest, DrawsATimeline) {
  EXPECT_EQ(picture({PipelineKind::kOneForwardOneBackward, 2, 3}), R"(
F0 F1 .  .  B0 -  F2 B1 -  .  B2 -
.  F0 B0 -  F1 B1 -  F2 B2 -  .  .
)");
  EXPECT_EQ(picture({PipelineKind::kZeroBubble, 3, 4}), R"(
F0 F1 F2 .  .  B0 W0 F3 B1 W1 B2 W2 B3 W3
.  F0 F1 .  B0 F2 B1 W0 F3 B2 W1 B3 W2 W3
.  .  F0 B0 F1 B1 F2 B2 W0 F3 B3 W1 W2 W3
)");
  EXPECT_EQ(picture({PipelineKind::kInterleaved, 2, 2, 2}), R"(
F0a F1a F0b F1b .   .   B0b -   .   B1b -   B0a -   B1a -
.   F0a F1a F0b B0b -   F1b B1b -   B0a -   B1a -   .   .
)");
}

}  // namespace
}  // namespace trireme
