#include "trainer/metrics.h"

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "data/user_error.h"
#include "tests/support/temp_dir.h"
#include "trainer/append_file.h"
#include "trainer/metrics_file.h"

namespace trireme {
namespace {

StepMetrics metrics_at(std::int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.steps = 100;
  metrics.loss = 5.0 - 0.01 * static_cast<double>(step);
  metrics.learning_rate = 6e-4;
  metrics.grad_norm = 0.75;
  metrics.tokens_per_second = 12345;
  metrics.share_of_peak = 0.71;
  metrics.data_wait = 0.01;
  metrics.tokens = 4096 * step;
  metrics.elapsed_s = static_cast<double>(step);
  metrics.remaining_s = static_cast<double>(100 - step);
  return metrics;
}

std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::int64_t> steps_of(const MetricsHistory& history) {
  std::vector<std::int64_t> steps;
  for (const auto& metrics : history.steps) steps.push_back(metrics.step);
  return steps;
}

std::vector<std::int64_t> validated(const MetricsHistory& history) {
  std::vector<std::int64_t> steps;
  for (const auto& validation : history.validations) steps.push_back(validation.step);
  return steps;
}

// Keeps what the log prints out of the test's output.
class Metrics : public testing::Test {
 protected:
  void SetUp() override { testing::internal::CaptureStdout(); }
  void TearDown() override { testing::internal::GetCapturedStdout(); }

  TempDir folder_;
  std::string run_ = folder_ / "run";
  std::string file_ = folder_ / "run/metrics.jsonl";
};

TEST_F(Metrics, LinesReadBackToWhatWasLogged) {
  {
    MetricsLog log(run_, 0);
    log.validation(0, {.loss = 5.5});
    log.train_step(metrics_at(10));
    log.validation(10, {.loss = 5.25, .mean_loops = 2.5});
    StepMetrics smoothed = metrics_at(20);
    smoothed.objective = 6.5;
    smoothed.traffic = {{"dp", 138888, 0.25, 0.75}, {"tp", 1e6, 0.5, 0}};
    smoothed.bubble = PipelineBubble{.measured = 0.25, .forecast = 0.125};
    log.train_step(smoothed);
  }
  const MetricsHistory history = read_metrics(file_);
  ASSERT_EQ(steps_of(history), (std::vector<std::int64_t>{10, 20}));
  ASSERT_EQ(validated(history), (std::vector<std::int64_t>{0, 10}));
  ASSERT_EQ(history.attempts.size(), 1u);
  EXPECT_EQ(history.attempts[0].start_step, 0);
  const StepMetrics expected = metrics_at(20), &read = history.steps[1];
  EXPECT_EQ(read.steps, expected.steps);
  EXPECT_EQ(read.loss, expected.loss);
  EXPECT_EQ(history.steps[0].objective, std::nullopt);
  EXPECT_EQ(read.objective, 6.5);
  EXPECT_TRUE(history.steps[0].traffic.empty());
  EXPECT_FALSE(history.steps[0].bubble);
  ASSERT_TRUE(read.bubble);
  EXPECT_EQ(read.bubble->measured, 0.25);
  EXPECT_EQ(read.bubble->forecast, 0.125);
  EXPECT_EQ(read.traffic, (std::vector<AxisTraffic>{{"dp", 138888, 0.25, 0.75}, {"tp", 1e6, 0.5, 0}}));
  EXPECT_EQ(read.learning_rate, expected.learning_rate);
  EXPECT_EQ(read.grad_norm, expected.grad_norm);
  EXPECT_EQ(read.tokens_per_second, expected.tokens_per_second);
  EXPECT_EQ(read.share_of_peak, expected.share_of_peak);
  EXPECT_EQ(read.data_wait, expected.data_wait);
  EXPECT_EQ(read.tokens, expected.tokens);
  EXPECT_EQ(read.elapsed_s, expected.elapsed_s);
  EXPECT_EQ(read.remaining_s, expected.remaining_s);
  EXPECT_EQ(history.validations[1].found.loss, 5.25);
  EXPECT_EQ(history.validations[1].found.mean_loops, 2.5);
  EXPECT_EQ(history.validations[0].found.mean_loops, std::nullopt);
}

TEST_F(Metrics, LinesAreOnDiskAsSoonAsLogged) {
  MetricsLog log(run_, 0);
  log.train_step(metrics_at(10));
  EXPECT_EQ(steps_of(read_metrics(file_)), (std::vector<std::int64_t>{10}));
}

TEST_F(Metrics, AfterAResumeEachStepStandsOnce) {
  {
    MetricsLog log(run_, 0);
    for (const std::int64_t step : {10, 20, 30, 40, 50}) {
      log.train_step(metrics_at(step));
      if (step % 20 == 0) log.validation(step, {.loss = 4});
    }
  }
  {
    MetricsLog log(run_, 30);
    for (const std::int64_t step : {40, 50, 60}) {
      StepMetrics metrics = metrics_at(step);
      metrics.elapsed_s = static_cast<double>(step - 30);
      log.train_step(metrics);
      if (step % 20 == 0) log.validation(step, {.loss = 3});
    }
  }
  const MetricsHistory history = read_metrics(file_);
  EXPECT_EQ(steps_of(history), (std::vector<std::int64_t>{10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(validated(history), (std::vector<std::int64_t>{20, 40, 60}));
  EXPECT_EQ(history.validations[1].found.loss, 3);
  ASSERT_EQ(history.attempts.size(), 2u);
  EXPECT_EQ(history.attempts[1].start_step, 30);
  EXPECT_EQ(history.attempts[1].repeated_steps, 20);
  EXPECT_EQ(history.attempts[1].elapsed_s, 50);
  EXPECT_EQ(history.steps.back().elapsed_s, 80);
  EXPECT_EQ(history.elapsed_s(), 80);
}

TEST_F(Metrics, ValidationBeforeTheCheckpointIsNotRepeated) {
  {
    MetricsLog log(run_, 0);
    log.train_step(metrics_at(20));
    log.validation(20, {.loss = 4});
  }
  MetricsLog log(run_, 20);
  log.validation(20, {.loss = 4});
  log.train_step(metrics_at(30));
  EXPECT_EQ(validated(read_metrics(file_)), (std::vector<std::int64_t>{20}));
}

TEST_F(Metrics, AnAttemptThatDoesNothingLeavesNoTrace) {
  {
    MetricsLog log(run_, 0);
    log.train_step(metrics_at(100));
  }
  const std::string before = read_file(file_);
  { MetricsLog log(run_, 100); }
  EXPECT_EQ(read_file(file_), before);
}

// A process that was killed while it wrote, at any byte of its last line.
TEST_F(Metrics, ATornLastLineIsDropped) {
  {
    MetricsLog log(run_, 0);
    log.train_step(metrics_at(10));
    log.train_step(metrics_at(20));
  }
  const std::string whole = read_file(file_);
  const std::size_t last_line = whole.rfind('\n', whole.size() - 2) + 1;
  for (std::size_t size = last_line + 1; size < whole.size(); size += 7) {
    std::ofstream(file_, std::ios::trunc) << whole.substr(0, size);
    EXPECT_EQ(steps_of(read_metrics(file_)), (std::vector<std::int64_t>{10}));
    MetricsLog log(run_, 20);
    log.train_step(metrics_at(30));
    EXPECT_EQ(steps_of(read_metrics(file_)), (std::vector<std::int64_t>{10, 30})) << size;
  }
}

TEST_F(Metrics, ForeignLinesAreSkipped) {
  std::filesystem::create_directories(run_);
  std::ofstream(file_)
      << "\n{}\n[1]\nnull\n\xff\n{\"step\": \"x\"}\n{\"step\": 5}\n{\"step\": 5.5, \"loss\": 1}\n"
      << metrics_line(metrics_at(10)).insert(1, "\"traffic\":{\"dp\":3,\"tp\":{\"hidden\":1}},")
      << "{\"step\": 10, \"validation_loss\": \"low\"}\n";
  const MetricsHistory history = read_metrics(file_);
  EXPECT_EQ(steps_of(history), (std::vector<std::int64_t>{10}));
  EXPECT_TRUE(history.validations.empty());
  EXPECT_TRUE(history.steps.at(0).traffic.empty());
}

TEST_F(Metrics, TensorboardHasTheTrafficOfEachAxis) {
  MetricsLog log(run_, 0);
  StepMetrics metrics = metrics_at(10);
  metrics.traffic = {{"dp", 138888, 0.25, 0.75}};
  log.train_step(metrics);
  std::string events;
  for (const auto& file : std::filesystem::directory_iterator(folder_ / "run/tensorboard")) {
    events += read_file(file.path());
  }
  for (const char* name : {"bytes_per_step", "busy_s", "hidden"}) {
    EXPECT_NE(events.find(std::string("communication/dp_") + name), std::string::npos) << name;
  }
}

TEST_F(Metrics, WhatIsNotFiniteReadsBack) {
  StepMetrics metrics = metrics_at(10);
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.grad_norm = std::numeric_limits<double>::infinity();
  {
    MetricsLog log(run_, 0);
    log.train_step(metrics);
    log.validation(10, {.loss = metrics.loss});
  }
  const MetricsHistory history = read_metrics(file_);
  ASSERT_EQ(history.steps.size(), 1u);
  EXPECT_TRUE(std::isnan(history.steps[0].loss));
  EXPECT_TRUE(std::isnan(history.steps[0].grad_norm));
  ASSERT_EQ(history.validations.size(), 1u);
  EXPECT_TRUE(std::isnan(history.validations[0].found.loss));
}

TEST_F(Metrics, AFolderThatCannotBeMadeIsRefused) {
  std::ofstream(run_) << "a file";
  EXPECT_THROW(MetricsLog(run_, 0), UserError);
}

// A disk that is full, played by a limit on the size of files.
TEST(AppendFile, ARefusedRecordIsLostAsAWholeAndLaterOnesAreWritten) {
  TempDir folder;
  const std::string path = folder / "records";
  AppendFile file(path);
  file.append("first\n");

  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{10, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  file.append("second, of which four bytes fit\n");
  const std::string while_full = read_file(path);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);

  EXPECT_EQ(while_full, "first\n");
  file.append("third\n");
  EXPECT_EQ(read_file(path), "first\nthird\n");
}

}  // namespace
}  // namespace trireme
