// What the program says to who uses it for the first time, or wrongly.
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/launch/shell.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

Outcome trireme_with(const std::string& arguments) {
  return run_shell(TRIREME_PROGRAM " " + arguments);
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Every command that --help lists has a --help of its own with an example.
TEST(Main, HelpLeadsToEveryCommand) {
  const Outcome help = trireme_with("--help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_EQ(help.errors, "");
  EXPECT_EQ(trireme_with("").out, help.out);
  const std::size_t list = help.out.find("Subcommands:\n");
  ASSERT_NE(list, std::string::npos) << help.out;
  std::istringstream lines(help.out.substr(list));
  std::string line;
  std::getline(lines, line);
  int commands = 0;
  while (std::getline(lines, line) && line.rfind("  ", 0) == 0) {
    if (line[2] == ' ') continue;  // a description that goes on
    const std::string command = line.substr(2, line.find(' ', 2) - 2);
    const Outcome of_command = trireme_with(command + " --help");
    EXPECT_EQ(of_command.exit_code, 0) << command;
    EXPECT_NE(of_command.out.find("trireme " + command), std::string::npos) << of_command.out;
    ++commands;
  }
  EXPECT_GE(commands, 1);
}

TEST(Main, VersionIsOneLine) {
  const Outcome version = trireme_with("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out.rfind("trireme 0.", 0), 0u) << version.out;
  EXPECT_EQ(occurrences(version.out, "\n"), 1u);
}

TEST(Main, PrintsTheReferenceOfTheConfig) {
  EXPECT_EQ(
      run_shell(TRIREME_PROGRAM " --config-reference | cmp - " TRIREME_SOURCE_DIR "/configs/reference.toml")
          .exit_code,
      0);
}

struct Mistake {
  const char* arguments;
  const char* error;
};

class MainMistake : public testing::TestWithParam<Mistake> {};

TEST_P(MainMistake, IsToldInOneLine) {
  const Outcome outcome = trireme_with(GetParam().arguments);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.errors, std::string("trireme: ") + GetParam().error + "\n");
}

INSTANTIATE_TEST_SUITE_P(
    , MainMistake,
    testing::Values(Mistake{"repotr runs/x", "repotr: no such command; did you mean report?"},
                    Mistake{"frobnicate", "frobnicate: no such command; see trireme --help"},
                    Mistake{"--versoin", "trireme: unexpected argument --versoin; did you mean --version?"},
                    Mistake{"report", "trireme report: RUN is required; see trireme report --help"},
                    Mistake{"report a b", "trireme report: unexpected argument b; see trireme report --help"},
                    Mistake{"report no/such",
                            "no/such: there is no such folder; give the run.directory of a run"}));

TEST(Main, ReportPrintsWhereThePageIs) {
  const TempDir run;
  std::ofstream(run / "metrics.jsonl")
      << R"({"step":10,"time":1,"steps":10,"loss":1,"learning_rate":1,"grad_norm":1,"tokens_per_second":1,)"
      << R"("share_of_peak":1,"data_wait":0,"tokens":1,"skipped_steps":0,"elapsed_s":1,"remaining_s":0})"
      << "\n";
  const Outcome outcome = trireme_with("report " + run.path().string());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_EQ(outcome.out, run / "report.html" + "\n");
  EXPECT_TRUE(std::filesystem::exists(run / "report.html"));
}

// A mistake that all ranks find is told once, and help is given once.
TEST(Main, RanksSpeakWithOneVoice) {
  const Outcome mistake = run_shell(TRIREME_MPIRUN " 3 " TRIREME_PROGRAM " report no/such");
  EXPECT_EQ(mistake.exit_code, 2);
  EXPECT_EQ(occurrences(mistake.errors, "trireme: "), 1u) << mistake.errors;
  const Outcome help = run_shell(TRIREME_MPIRUN " 3 " TRIREME_PROGRAM " --help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_EQ(occurrences(help.out, "Subcommands:"), 1u) << help.out;
}

// The folder exists for rank 1 alone to miss.
TEST(Main, ARankThatFailsAloneIsHeardAndEndsTheJob) {
  const TempDir folder;
  const std::string script = folder / "rank.sh";
  std::ofstream(script) << "#!/bin/sh\n"
                           "[ \"$OMPI_COMM_WORLD_RANK\" = 1 ] && exec " TRIREME_PROGRAM
                           " report no/such\n"
                           "exec " TRIREME_PROGRAM " report --help\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const Outcome outcome = run_shell("timeout 60 " TRIREME_MPIRUN " 2 " + script);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.errors.find("trireme: rank 1: no/such: there is no such folder"), std::string::npos)
      << outcome.errors;
}

}  // namespace
}  // namespace trireme
