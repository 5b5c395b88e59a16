// launch/quickstart.sh, cut short.
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "tests/launch/shell.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

TEST(Quickstart, TrainsIsInterruptedResumesAndShowsTheResult) {
  if (run_shell("command -v bible").exit_code != 0)
    GTEST_SKIP() << "the text, package bible-kjv, is not installed";
  const TempDir folder;
  const std::string command =
      "MPIRUN_OPTIONS='--mca btl self,vader --mca oob_tcp_if_include lo' " TRIREME_SOURCE_DIR
      "/launch/quickstart.sh " +
      folder / "q" +
      " model.layers=1 model.width=32 model.heads=2 model.context=64 train.steps=80 "
      "train.log_every=2 train.eval_every=40";
  const Outcome first = run_shell(command);
  ASSERT_EQ(first.exit_code, 0) << first.out << first.errors;
  EXPECT_NE(first.out.find("resumed from step_"), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("step 80/80"), std::string::npos);
  EXPECT_NE(first.out.find("And it came to pass"), std::string::npos);
  EXPECT_NE(first.out.find("unigram entropy"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder / "q/run/report.html"));

  const Outcome again = run_shell(command);
  EXPECT_EQ(again.exit_code, 0) << again.errors;
  EXPECT_EQ(again.out.find("step 2/80"), std::string::npos) << "it began anew";
}

}  // namespace
}  // namespace trireme
