#include "trainer/progress.h"

#include <cmath>
#include <cstdlib>
#include <sstream>

#include <gtest/gtest.h>

#include "trainer/readable.h"

namespace trireme {
namespace {

StepMetrics some_step() {
  StepMetrics metrics;
  metrics.step = 50;
  metrics.steps = 1000;
  metrics.loss = 3.21043;
  metrics.learning_rate = 6e-4;
  metrics.grad_norm = 0.84321;
  metrics.tokens_per_second = 12412;
  metrics.share_of_peak = 0.714;
  metrics.remaining_s = 151;
  return metrics;
}

TEST(Progress, PlainLinesWhereThereIsNoTerminal) {
  std::ostringstream out;
  {
    Progress progress(out, 0);
    progress.step(some_step());
    progress.note("saved step 50");
  }
  EXPECT_EQ(out.str(),
            "step   50/1000  loss 3.2104  lr 6e-4  grad 0.843  12.4k tok/s  71% of peak  2m 31s left\n"
            "saved step 50\n");
}

TEST(Progress, OneLineIsRewrittenInATerminal) {
  std::ostringstream out;
  {
    Progress progress(out, 20);
    progress.step(some_step());
    progress.note("saved step 50");
    progress.step(some_step());
  }
  EXPECT_EQ(out.str(),
            "\r\x1b[Kstep   50/1000  los"
            "\r\x1b[Ksaved step 50\nstep   50/1000  los"
            "\r\x1b[Kstep   50/1000  los"
            "\n");
}

TEST(Progress, TroublesAreNamed) {
  std::ostringstream out;
  StepMetrics metrics = some_step();
  metrics.data_wait = 0.25;
  metrics.skipped_steps = 2;
  metrics.loss = std::nan("");
  Progress(out, 0).step(metrics);
  EXPECT_NE(out.str().find("  25% waiting for data  2 skipped\n"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("loss nan"), std::string::npos) << out.str();
}

TEST(Progress, TrafficOfEachAxis) {
  std::ostringstream out;
  StepMetrics metrics = some_step();
  metrics.traffic = {{"dp", 12.3e6, 0.5, 0.84}, {"tp", 950, 0.1, std::nan("")}};
  Progress(out, 0).step(metrics);
  EXPECT_NE(out.str().find("left  dp 12.3 MB/step, 84% hidden  tp 950 B/step, - hidden\n"), std::string::npos)
      << out.str();
}

TEST(Progress, ALauncherMayTellTheTerminal) {
  ::setenv("TRIREME_TERMINAL", "132", 1);
  EXPECT_EQ(terminal_columns(), 132);
  ::setenv("TRIREME_TERMINAL", "0", 1);
  EXPECT_EQ(terminal_columns(), 0);
  ::unsetenv("TRIREME_TERMINAL");
}

TEST(Readable, Counts) {
  EXPECT_EQ(readable_count(0), "0");
  EXPECT_EQ(readable_count(999.4), "999");
  EXPECT_EQ(readable_count(999.6), "1.00k");
  EXPECT_EQ(readable_count(12412), "12.4k");
  EXPECT_EQ(readable_count(99960), "100k");
  EXPECT_EQ(readable_count(124e6), "124M");
  EXPECT_EQ(readable_count(9.99e9), "9.99G");
  EXPECT_EQ(readable_count(1e18), "1000000T");
  EXPECT_EQ(readable_count(NAN), "-");
}

TEST(Readable, Bytes) {
  EXPECT_EQ(readable_bytes(0), "0 B");
  EXPECT_EQ(readable_bytes(950), "950 B");
  EXPECT_EQ(readable_bytes(138888), "139 kB");
  EXPECT_EQ(readable_bytes(3.07e9), "3.07 GB");
}

TEST(Readable, Durations) {
  EXPECT_EQ(readable_duration(0), "0s");
  EXPECT_EQ(readable_duration(59.6), "1m 00s");
  EXPECT_EQ(readable_duration(3599), "59m 59s");
  EXPECT_EQ(readable_duration(3600), "1h 00m");
  EXPECT_EQ(readable_duration(90061), "1d 01h");
  EXPECT_EQ(readable_duration(-1), "-");
  EXPECT_EQ(readable_duration(INFINITY), "-");
}

TEST(Readable, Numbers) {
  EXPECT_EQ(readable_number(3.21043, 5), "3.2104");
  EXPECT_EQ(readable_number(3, 3), "3.00");
  EXPECT_EQ(readable_number(123, 3), "123");
  EXPECT_EQ(readable_number(6e-5, 3), "6e-5");
  EXPECT_EQ(readable_number(6.123e-5, 3), "6.12e-5");
  EXPECT_EQ(readable_number(1.5e12, 3), "1.5e12");
  EXPECT_EQ(readable_number(NAN, 3), "nan");
  EXPECT_EQ(readable_number(0, 3), "0.00");
}

}  // namespace
}  // namespace trireme
