// `trireme probe`, whole: small models on short strings.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/shell.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigs = TRIREME_SOURCE_DIR "/configs/probes";

class ProbeTest : public ::testing::Test {
 protected:
  // Strings of up to 3 letters, seconds of training.
  Outcome probe(const std::string& arguments, const std::string& launcher = "") const {
    return run_shell(launcher + " " TRIREME_PROGRAM " probe " + kConfigs + " --length 3 --pairs 5000" +
                     " --output " + output() +
                     " run.threads=1 train.steps=100 optim.warmup_steps=20 train.eval_every=0 " + arguments);
  }
  std::string output() const { return folder_ / "out"; }
  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(fs::path(output()) / name).rdbuf();
    return text.str();
  }
  std::vector<nlohmann::json> results() const {
    std::vector<nlohmann::json> lines;
    std::istringstream text(read("results.jsonl"));
    for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  TempDir folder_;
};

// Copying is learned and carries over to twice the length; without positions it can't be learned.
TEST_F(ProbeTest, TellsAModelThatCanCopyFromOneThatCannot) {
  const Outcome outcome = probe("--tests 200 --tasks copy --models rope_cross,none");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
  const auto found = results();
  ASSERT_EQ(found.size(), 2u);
  const auto exact = [&](std::size_t row, std::size_t length) {
    EXPECT_EQ(found[row]["scores"][length]["questions"], 200);
    return found[row]["scores"][length]["exact"].get<int>();
  };
  EXPECT_EQ(found[0]["model"], "rope_cross");
  EXPECT_EQ(found[0]["scores"][2]["length"], 12);
  EXPECT_GE(exact(0, 0), 180);
  EXPECT_GE(exact(0, 1), 160);
  EXPECT_EQ(found[1]["model"], "none");
  EXPECT_LE(exact(1, 1), 40);
  EXPECT_NE(outcome.out.find(read("table.md")), std::string::npos);
  EXPECT_NE(read("table.md").find("| copy | rope_cross |"), std::string::npos);
}

TEST_F(ProbeTest, PassesOverWhatIsDoneAndAnyRanksFindTheSame) {
  const std::string brief = "--tests 50 --models rope_cross train.steps=30 ";
  const std::string copy = brief + "--tasks copy ";
  ASSERT_EQ(probe(copy).exit_code, 0);
  const auto alone = results();
  ASSERT_EQ(alone.size(), 1u);
  const Outcome again = probe(brief + "--tasks copy,parity");
  ASSERT_EQ(again.exit_code, 0) << again.errors;
  EXPECT_NE(again.out.find("rope_cross (1 of 2): done before"), std::string::npos) << again.out;
  const auto both = results();
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0], alone[0]);  // the time of training, too
  EXPECT_EQ(both[1]["task"], "parity");

  const Outcome other = probe(copy + "optim.learning_rate=1e-3");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.errors.find("was begun with another config"), std::string::npos) << other.errors;
  EXPECT_EQ(results(), both);

  fs::remove_all(output());
  const Outcome ranks = probe(copy, TRIREME_MPIRUN " 2");
  ASSERT_EQ(ranks.exit_code, 0) << ranks.errors;
  const auto together = results();
  ASSERT_EQ(together.size(), 1u);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& one = alone[0]["scores"][i];
    const auto& two = together[0]["scores"][i];
    EXPECT_EQ(two["questions"], one["questions"]);
    EXPECT_NEAR(two["exact"].get<double>(), one["exact"].get<double>(), 3.0);  // but for rounding
  }
}

TEST_F(ProbeTest, GoesOnWithARunThatWasStopped) {
  const std::vector<std::string> command = {TRIREME_PROGRAM,
                                            "probe",
                                            kConfigs,
                                            "--length",
                                            "3",
                                            "--pairs",
                                            "5000",
                                            "--tasks",
                                            "copy",
                                            "--models",
                                            "rope_cross",
                                            "--output",
                                            output(),
                                            "--tests",
                                            "50",
                                            "run.threads=1",
                                            "train.steps=60",
                                            "optim.warmup_steps=20",
                                            "train.log_every=1"};
  Program stopped(command);
  ASSERT_TRUE(stopped.wait_for_output("step  5/60")) << stopped.output() << stopped.errors();
  stopped.kill(SIGTERM);
  ASSERT_EQ(stopped.wait(), 85) << stopped.errors();
  EXPECT_FALSE(fs::exists(fs::path(output()) / "results.jsonl"));
  Program again(command);
  ASSERT_EQ(again.wait(), 0) << again.errors();
  EXPECT_NE(again.output().find("resumed from"), std::string::npos) << again.output();
  ASSERT_EQ(results().size(), 1u);
  EXPECT_EQ(results()[0]["steps"], 60);
}

TEST_F(ProbeTest, MistakesAreOneLineAndExitCodeTwo) {
  std::ofstream(folder_ / "decoder.toml")
      << "[run]\ndirectory='r'\n[data]\npath='d'\n[train]\nbatch_sequences=4\n";
  fs::create_directory(folder_ / "empty");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {std::string(kConfigs) + " --models rop", "has no rop.toml; did you mean rope?"},
      {std::string(kConfigs) + " --tasks copi", "copi"},
      {std::string(kConfigs) + " --length 2", "--length"},
      {std::string(kConfigs) + " optim.lr=1", "unknown key optim.lr"},
      {folder_ / "nowhere", "nowhere"},
      {folder_ / "empty", "holds no config"},
      {folder_ / "decoder.toml", "model.kind is decoder"}};
  for (const auto& [arguments, message] : cases) {
    const Outcome outcome = run_shell(TRIREME_PROGRAM " probe " + arguments + " --output " + output());
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_NE(outcome.errors.find(message), std::string::npos) << outcome.errors;
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
    EXPECT_FALSE(fs::exists(output())) << arguments;
  }
}

}  // namespace
}  // namespace trireme
