#include "trainer/optim/lr_schedule.h"

#include <cmath>

#include <gtest/gtest.h>

namespace trireme {
namespace {

OptimConfig config(const char* schedule, std::int64_t warmup) {
  return {.learning_rate = 0.8, .min_learning_rate = 0.2, .schedule = schedule, .warmup_steps = warmup};
}

TEST(LearningRate, WarmsUpLinearly) {
  for (const char* schedule : {"cosine", "linear", "constant", "inverse_sqrt"}) {
    EXPECT_DOUBLE_EQ(learning_rate_at(config(schedule, 10), 0, 100), 0.08) << schedule;
    EXPECT_DOUBLE_EQ(learning_rate_at(config(schedule, 10), 4, 100), 0.40) << schedule;
    EXPECT_DOUBLE_EQ(learning_rate_at(config(schedule, 10), 9, 100), 0.80) << schedule;
  }
}

TEST(LearningRate, StartsAtThePeakWithoutWarmup) {
  for (const char* schedule : {"cosine", "linear", "constant", "inverse_sqrt"}) {
    EXPECT_DOUBLE_EQ(learning_rate_at(config(schedule, 0), 0, 100), 0.8) << schedule;
  }
}

TEST(LearningRate, CosineAndLinearEndAtTheMinimum) {
  EXPECT_DOUBLE_EQ(learning_rate_at(config("cosine", 10), 99, 100), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config("linear", 10), 99, 100), 0.2);
  // Half way down, of 89 steps.
  EXPECT_NEAR(learning_rate_at(config("linear", 11), 55, 100), 0.5, 1e-12);
  EXPECT_NEAR(learning_rate_at(config("cosine", 11), 55, 100), 0.5, 1e-12);
  // A quarter: the cosine is still high.
  EXPECT_NEAR(learning_rate_at(config("cosine", 11), 33, 100), 0.2 + 0.3 * (1 + std::sqrt(0.5)), 1e-12);
}

TEST(LearningRate, StaysAtTheMinimumBeyondTheEnd) {
  EXPECT_DOUBLE_EQ(learning_rate_at(config("cosine", 10), 150, 100), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config("linear", 10), 150, 100), 0.2);
}

TEST(LearningRate, ConstantAndInverseSquareRoot) {
  EXPECT_DOUBLE_EQ(learning_rate_at(config("constant", 10), 77, 100), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate_at(config("inverse_sqrt", 10), 39, 100), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate_at(config("inverse_sqrt", 0), 15, 100), 0.2);
}

TEST(LearningRate, OneStepRunsHaveARate) {
  EXPECT_DOUBLE_EQ(learning_rate_at(config("cosine", 0), 0, 1), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate_at(config("linear", 1), 0, 1), 0.8);
}

}  // namespace
}  // namespace trireme
