// Whole runs of the program on an encoder, alone and under mpirun.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/manifest.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

// A data set that all tests share: verses in which a letter follows from those on both sides.
class MaskedLanguageModelTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    std::ofstream text(*folder_ / "text.txt");
    for (int i = 0; i < 900; ++i) text << "%\n" << (i * i % 7 < 3 ? "oars fell, " : "wind rose, ");
    text.close();
    Program prepare({TRIREME_PROGRAM, "prepare", *folder_ / "text.txt", "--separator", "%", "--tokenizer",
                     "byte", "--output", data()});
    ASSERT_EQ(prepare.wait(), 0) << prepare.errors();
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string data() { return *folder_ / "data"; }

  static std::vector<std::string> command(int ranks, const std::string& run,
                                          std::vector<std::string> overrides) {
    std::vector<std::string> words;
    if (ranks > 1) words = {TRIREME_MPIRUN, std::to_string(ranks)};
    words.insert(words.end(),
                 {TRIREME_PROGRAM, "train", TRIREME_SOURCE_DIR "/configs/tiny.toml", "data.path=" + data(),
                  "run.directory=" + run, "model.kind=encoder", "model.norm_placement=post",
                  "model.activation=gelu", "model.embedding_norm=true", "model.token_types=2",
                  "model.output_transform=true", "model.output_bias=true"});
    words.insert(words.end(), overrides.begin(), overrides.end());
    return words;
  }
  static void train(int ranks, const std::string& run, const std::vector<std::string>& overrides) {
    Program program(command(ranks, run, overrides));
    ASSERT_EQ(program.wait(), 0) << program.output() << program.errors();
  }

  static std::string contents(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  // The lines of metrics.jsonl that have this key, by step.
  static std::map<std::int64_t, double> metric(const std::string& run, const std::string& key) {
    std::map<std::int64_t, double> values;
    std::ifstream file(fs::path(run) / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains(key)) values[json["step"]] = json[key];
    }
    return values;
  }
  // Checksums of the parameters and both moments after a step.
  static std::vector<std::uint64_t> state_after(const std::string& run, std::int64_t step) {
    std::vector<std::uint64_t> state;
    for (const auto& tensor : read_manifest(checkpoint_folder(run, step)).tensors)
      state.push_back(tensor.checksum);
    return state;
  }

  static inline std::unique_ptr<TempDir> folder_;
  TempDir runs_;
};

TEST_F(MaskedLanguageModelTest, AnyNumberOfRanksTrainsTheSameModel) {
  const std::vector<std::string> common = {"train.steps=10", "train.batch_sequences=6", "train.log_every=1",
                                           "model.dropout=0.1"};
  const std::map<std::string, std::pair<int, std::vector<std::string>>> layouts = {
      {"alone", {1, {"train.microbatch_sequences=6"}}},
      {"pieces", {1, {"train.microbatch_sequences=1"}}},
      {"two", {2, {"parallel.bucket_mib=0.01"}}},
      {"four", {4, {}}}};
  for (const auto& [name, layout] : layouts) {
    std::vector<std::string> overrides = common;
    overrides.insert(overrides.end(), layout.second.begin(), layout.second.end());
    train(layout.first, runs_ / name, overrides);
  }
  const auto expected = metric(runs_ / "alone", "loss");
  ASSERT_EQ(expected.size(), 10U);
  for (const char* name : {"pieces", "two", "four"}) {
    EXPECT_NEAR(metric(runs_ / name, "loss").at(1) / expected.at(1), 1.0, 1e-6) << name;
    EXPECT_NEAR(metric(runs_ / name, "loss").at(10) / expected.at(10), 1.0, 1e-4) << name;
    EXPECT_NEAR(
        metric(runs_ / name, "validation_loss").at(10) / metric(runs_ / "alone", "validation_loss").at(10),
        1.0, 1e-4)
        << name;
  }
  EXPECT_EQ(metric(runs_ / "four", "tokens").at(10), 10 * 6 * 32);
}

TEST_F(MaskedLanguageModelTest, ResumesBitForBit) {
  const std::vector<std::string> overrides = {"train.steps=40", "train.log_every=1", "checkpoint.every=10",
                                              "checkpoint.keep_last=9", "model.dropout=0.1"};
  train(2, runs_ / "whole", overrides);
  train(2, runs_ / "parts", overrides);
  for (const std::int64_t step : {40, 30, 20}) fs::remove_all(checkpoint_folder(runs_ / "parts", step));
  train(2, runs_ / "parts", overrides);
  EXPECT_EQ(state_after(runs_ / "parts", 40), state_after(runs_ / "whole", 40));
  for (const char* key : {"loss", "grad_norm", "validation_loss", "accuracy"})
    EXPECT_EQ(metric(runs_ / "parts", key), metric(runs_ / "whole", key)) << key;
}

TEST_F(MaskedLanguageModelTest, TrainedModelsFillInWhatIsMissing) {
  const std::string run = runs_ / "run";
  train(2, run,
        {"train.steps=800", "train.eval_every=800", "train.log_every=100", "checkpoint.every=0",
         "train.batch_sequences=16", "train.eval_sequences=1000", "train.eval_attention=2",
         "model.norm_placement=pre", "model.init_stddev=0.1", "optim.learning_rate=5e-3",
         "optim.warmup_steps=50"});
  const auto output = [](const std::vector<std::string>& words) {
    Program program(words);
    EXPECT_EQ(program.wait(), 0) << program.errors();
    return program.output();
  };
  const auto result = nlohmann::json::parse(output({TRIREME_PROGRAM, "evaluate", run, "--json"}));
  EXPECT_LT(result["loss"].get<double>(), 0.5 * result["unigram_entropy"].get<double>());
  EXPECT_GT(result["accuracy"].get<double>(), 0.7);
  EXPECT_NEAR(result["perplexity"].get<double>(), std::exp(result["loss"].get<double>()), 1e-2);
  // What training has said of the same masks, on two ranks.
  EXPECT_NEAR(metric(run, "validation_loss").at(800), result["loss"].get<double>(), 1e-5);
  EXPECT_NEAR(metric(run, "accuracy").at(800), result["accuracy"].get<double>(), 1e-9);

  EXPECT_NE(contents(fs::path(run) / "metrics.jsonl").find("\"attention_entropy\":{\"encoder\""),
            std::string::npos);
  EXPECT_EQ(output({TRIREME_PROGRAM, "attention", run, "--text", "wind [MASK]ose"}),
            run + "/attention.html\n");
  EXPECT_NE(contents(fs::path(run) / "attention.html").find("[MASK]"), std::string::npos);

  const auto guesses = nlohmann::json::parse(
      output({TRIREME_PROGRAM, "fill", run, "--text", "wind [MASK]ose, ", "--top-k", "3", "--json"}));
  ASSERT_EQ(guesses.size(), 1U);
  ASSERT_EQ(guesses[0].size(), 3U);
  EXPECT_EQ(guesses[0][0]["text"], "r");
  EXPECT_GT(guesses[0][0]["probability"].get<double>(), guesses[0][1]["probability"].get<double>());
  const std::string shown =
      output({TRIREME_PROGRAM, "fill", run, "--text", "oa[MASK]s f[MASK]ll, ", "--top-k", "1"});
  EXPECT_NE(shown.find("[MASK] 1\n  0."), std::string::npos) << shown;
  EXPECT_NE(shown.find("[MASK] 2\n  0."), std::string::npos) << shown;
  EXPECT_EQ(std::count(shown.begin(), shown.end(), '\n'), 4) << shown;

  const auto mistake = [](std::vector<std::string> words, const std::string& message) {
    words.insert(words.begin(), TRIREME_PROGRAM);
    Program program(words);
    EXPECT_EQ(program.wait(), 2) << message;
    EXPECT_NE(program.errors().find(message), std::string::npos) << program.errors();
  };
  mistake({"generate", run}, "fills in masked words");
  mistake({"translate", run}, "trireme fill");
  mistake({"fill", run, "--text", "wind rose"}, "has no [MASK]");
  mistake({"fill", run, "--text", "[MASK]" + std::string(40, 'x')}, "has 43 tokens");
  train(1, runs_ / "decoder",
        {"train.steps=5", "model.kind=decoder", "model.token_types=0", "model.output_transform=false"});
  mistake({"fill", runs_ / "decoder", "--text", "[MASK]"}, "trireme generate");
}

}  // namespace
}  // namespace trireme
