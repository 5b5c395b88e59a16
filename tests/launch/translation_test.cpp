// Whole runs of the program on pairs of sentences, alone and under mpirun.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
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

// A data set that all tests share: numbers in words of one language and another, which can be learned, in
// sentences of different lengths.
class TranslationTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    const std::vector<std::string> english = {"one", "two", "six", "ten"};
    const std::vector<std::string> german = {"eins", "zwei", "sechs", "zehn"};
    std::ofstream table(*folder_ / "numbers.tsv");
    std::mt19937 random(1);
    for (int i = 0; i < 1500; ++i) {
      std::string source, target;
      for (int word = 0; word < 1 + i % 6; ++word) {
        const std::size_t number = random() % 4;
        source += (word > 0 ? " " : "") + english[number];
        target += (word > 0 ? " " : "") + german[number];
      }
      table << source << '\t' << target << '\n';
    }
    table.close();
    Program prepare({TRIREME_PROGRAM, "prepare", "--pairs", *folder_ / "numbers.tsv", "--tokenizer", "byte",
                     "--validation-fraction", "0.1", "--output", data()});
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
                  "run.directory=" + run, "model.kind=encoder_decoder", "model.context=40",
                  "model.positions=sinusoidal", "model.norm_placement=post", "train.batch_sequences=0",
                  "train.batch_tokens=600", "train.microbatch_tokens=150", "train.label_smoothing=0.1",
                  "optim.schedule=inverse_sqrt", "optim.warmup_steps=5"});
    words.insert(words.end(), overrides.begin(), overrides.end());
    return words;
  }
  static void train(int ranks, const std::string& run, const std::vector<std::string>& overrides) {
    Program program(command(ranks, run, overrides));
    ASSERT_EQ(program.wait(), 0) << program.output() << program.errors();
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
  // Checksums of the parameters and both moments, and the position, after a step.
  static std::vector<std::uint64_t> state_after(const std::string& run, std::int64_t step) {
    const CheckpointManifest manifest = read_manifest(checkpoint_folder(run, step));
    std::vector<std::uint64_t> state = {static_cast<std::uint64_t>(manifest.state.step),
                                        static_cast<std::uint64_t>(manifest.state.samples),
                                        static_cast<std::uint64_t>(manifest.state.tokens)};
    for (const auto& tensor : manifest.tensors) state.push_back(tensor.checksum);
    return state;
  }

  static inline std::unique_ptr<TempDir> folder_;
  TempDir runs_;
};

// Ranks, microbatches and buckets: none changes what is learned, masks included.
TEST_F(TranslationTest, AnyLayoutTrainsTheSameModel) {
  const std::vector<std::string> common = {"train.steps=10", "train.log_every=1", "model.dropout=0.1"};
  const std::map<std::string, std::pair<int, std::vector<std::string>>> layouts = {
      {"alone", {1, {"train.microbatch_tokens=0"}}},
      {"pieces", {1, {"train.microbatch_tokens=70"}}},
      {"two", {2, {"parallel.bucket_mib=0.01"}}},
      {"four", {4, {"train.microbatch_tokens=100"}}}};
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
    EXPECT_EQ(metric(runs_ / name, "tokens"), metric(runs_ / "alone", "tokens")) << name;
  }
  // Under smoothing what is minimised is logged beside the loss: larger, since it asks for unlikely tokens,
  // too.
  const auto objective = metric(runs_ / "alone", "objective");
  ASSERT_EQ(objective.size(), 10U);
  EXPECT_GT(objective.at(10), expected.at(10));
  EXPECT_NEAR(metric(runs_ / "four", "objective").at(10) / objective.at(10), 1.0, 1e-4);
}

// Stopped by a signal in the middle of an epoch, gone on with, compared to the bit.
TEST_F(TranslationTest, ResumesBitForBit) {
  for (const int ranks : {1, 2}) {
    const std::vector<std::string> overrides = {"train.steps=120",     "train.log_every=1",
                                                "checkpoint.every=20", "checkpoint.keep_last=100",
                                                "model.dropout=0.1",   "train.eval_every=20"};
    const std::string whole = runs_ / ("whole" + std::to_string(ranks));
    const std::string parts = runs_ / ("parts" + std::to_string(ranks));
    train(ranks, whole, overrides);
    int interruptions = 0;
    for (int code = -1; code != 0;) {
      Program program(command(ranks, parts, overrides));
      const auto logged = metric(parts, "loss");
      const std::int64_t reached = logged.empty() ? 0 : logged.rbegin()->first;
      // Long before the end: a signal that comes when all is done finds nobody who would save.
      const std::string next = std::to_string(reached + 7);
      if (reached < 60 &&
          program.wait_for_output("step " + std::string(3 - next.size(), ' ') + next + "/120")) {
        program.kill(SIGUSR1);
        ++interruptions;
      }
      code = program.wait();
      ASSERT_TRUE(code == 0 || code == 85) << program.output() << program.errors();
    }
    EXPECT_GE(interruptions, 3);
    EXPECT_EQ(state_after(parts, 120), state_after(whole, 120));
    EXPECT_EQ(state_after(parts, 80), state_after(whole, 80));
    for (const char* key : {"loss", "grad_norm", "validation_loss", "tokens"}) {
      EXPECT_EQ(metric(parts, key), metric(whole, key)) << key;
    }
  }
}

TEST_F(TranslationTest, TrainedModelsTranslate) {
  const std::string run = runs_ / "run";
  train(2, run,
        {"train.steps=400", "train.batch_tokens=1200", "train.microbatch_tokens=600", "train.log_every=10",
         "train.eval_every=50", "train.eval_sequences=50", "train.eval_translations=50",
         "checkpoint.every=50", "checkpoint.keep_last=3", "model.norm_placement=pre", "model.init_stddev=0.1",
         "optim.learning_rate=5e-3", "optim.warmup_steps=100"});
  const auto output = [](const std::vector<std::string>& words) {
    Program program(words);
    EXPECT_EQ(program.wait(), 0) << program.errors();
    return program.output();
  };
  const auto evaluated = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {TRIREME_PROGRAM, "evaluate", run, "--json"});
    return nlohmann::json::parse(output(words));
  };
  const auto result = evaluated({"--sequences", "50"});
  EXPECT_LT(result["loss"].get<double>(), 0.1 * result["unigram_entropy"].get<double>());
  EXPECT_GT(result["bleu"].get<double>(), 90.0);
  EXPECT_GT(result["chrf"].get<double>(), 90.0);
  // What training has said of the same pairs, on two ranks.
  EXPECT_NEAR(metric(run, "bleu").at(400), result["bleu"].get<double>(), 1e-6);
  EXPECT_NEAR(metric(run, "validation_loss").at(400), result["loss"].get<double>(), 1e-5);
  EXPECT_LT(metric(run, "bleu").at(50), 60.0);

  // Line for line, in their order.
  std::ofstream(runs_ / "lines") << "two six\n\none\n  \nten ten one six\ntwo six";
  const auto translated = [&](const std::string& arguments) {
    return output(
        {"/bin/sh", "-c",
         std::string(TRIREME_PROGRAM) + " translate " + run + " " + arguments + " < " + (runs_ / "lines")});
  };
  const std::string lines = translated("");
  EXPECT_EQ(lines, "zwei sechs\n\neins\n\nzehn zehn eins sechs\nzwei sechs\n");
  EXPECT_EQ(translated("--batch-tokens 40 --beam 2"), lines);

  // The mean of three checkpoints is another model, as good as one.
  const auto averaged = evaluated({"--sequences", "50", "--average", "3"});
  EXPECT_NE(averaged["loss"], result["loss"]);
  EXPECT_LT(averaged["loss"].get<double>(), 2.0 * result["loss"].get<double>());
  Program too_many({TRIREME_PROGRAM, "evaluate", run, "--average", "4"});
  EXPECT_EQ(too_many.wait(), 2);
  EXPECT_NE(too_many.errors().find("has 3 checkpoints"), std::string::npos) << too_many.errors();
  Program generate({TRIREME_PROGRAM, "generate", run});
  EXPECT_EQ(generate.wait(), 2);
  EXPECT_NE(generate.errors().find("trireme translate"), std::string::npos) << generate.errors();
}

TEST_F(TranslationTest, MistakesAreOneLineAndExitCodeTwo) {
  std::ofstream(runs_ / "text.txt") << std::string(9000, 'x');
  Program prepare(
      {TRIREME_PROGRAM, "prepare", runs_ / "text.txt", "--tokenizer", "byte", "--output", runs_ / "text"});
  ASSERT_EQ(prepare.wait(), 0) << prepare.errors();
  struct Case {
    std::vector<std::string> overrides;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{"model.kind=decoder", "train.batch_tokens=400", "train.microbatch_tokens=0"},
       "model.kind: is decoder, but"},
      {{"data.path=" + (runs_ / "text")}, "model.kind: is encoder_decoder, but"},
      {{"model.kind=decoder", "train.batch_tokens=400"}, "train.microbatch_tokens"},
      {{"train.batch_sequences=4"}, "train.batch_sequences"},
      {{"train.batch_tokens=0"}, "train.batch_tokens"},
      {{"model.context=20"}, "model.context: is 20"},
      {{"train.microbatch_tokens=20"}, "train.microbatch_tokens: is 20"},
      {{"model.dropout=0.1", "model.width=34"}, "multiple of 4"},
      {{"model.attention_dropout=-0.5"}, "model.attention_dropout"},
      {{"model.kind=decoder", "train.batch_tokens=400", "train.microbatch_tokens=0",
        "model.encoder_layers=2"},
       "model.encoder_layers"}};
  for (const Case& c : cases) {
    const std::string run = runs_ / "fresh";
    Program program(command(1, run, c.overrides));
    EXPECT_EQ(program.wait(), 2) << c.message << program.errors();
    EXPECT_NE(program.errors().find(c.message), std::string::npos) << program.errors();
    EXPECT_FALSE(fs::exists(fs::path(run) / "checkpoints")) << c.message;
  }
}

}  // namespace
}  // namespace trireme
