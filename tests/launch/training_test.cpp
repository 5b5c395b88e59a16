// Whole runs of the program, alone and under mpirun: the numbers of any layout, interruptions, faults.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "parallel/self_communicator.h"
#include "tests/support/damage.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

// A data set that all tests share: a story that repeats itself enough to be learned.
class TrainingTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    std::ofstream text(*folder_ / "text.txt");
    for (int i = 0; i < 600; ++i) {
      text << "%\nThe " << (i % 7 == 0 ? "captain" : "rower") << " of ship " << i % 50
           << " called the stroke " << i * i % 97 << " times before the wind rose, and the oars fell.\n";
    }
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
    words.insert(words.end(), {TRIREME_PROGRAM, "train", TRIREME_SOURCE_DIR "/configs/tiny.toml",
                               "data.path=" + data(), "run.directory=" + run, "optim.warmup_steps=0"});
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
  static std::vector<float> parameters(const std::string& run) {
    SelfCommunicator alone;
    const TrainedModel trained = load_model(run, alone);
    const Tensor values = trained.model->parameters().values();
    return {values.data<float>(), values.data<float>() + values.num_elements()};
  }
  // Checksums of the parameters and both moments, and the position, after a step.
  static std::vector<std::uint64_t> state_after(const std::string& run, std::int64_t step) {
    const CheckpointManifest manifest = read_manifest(checkpoint_folder(run, step));
    std::vector<std::uint64_t> state = {static_cast<std::uint64_t>(manifest.state.step),
                                        static_cast<std::uint64_t>(manifest.state.samples)};
    for (const auto& tensor : manifest.tensors) state.push_back(tensor.checksum);
    return state;
  }

  // Ten steps of each number of ranks, of which the first is 1.
  void expect_same_model(const std::vector<std::string>& overrides,
                         const std::vector<int>& numbers_of_ranks) {
    for (const int ranks : numbers_of_ranks) train(ranks, runs_ / std::to_string(ranks), overrides);
    const auto alone = metric(runs_ / "1", "loss");
    const std::vector<float> expected = parameters(runs_ / "1");
    ASSERT_EQ(alone.size(), 10U);
    double norm = 0.0;
    for (const float value : expected) norm += static_cast<double>(value) * value;
    for (const int count : std::span(numbers_of_ranks).subspan(1)) {
      const std::string ranks = std::to_string(count);
      const auto losses = metric(runs_ / ranks, "loss");
      EXPECT_NEAR(losses.at(1) / alone.at(1), 1.0, 1e-6) << ranks;
      EXPECT_NEAR(losses.at(10) / alone.at(10), 1.0, 1e-4) << ranks;
      EXPECT_NEAR(
          metric(runs_ / ranks, "validation_loss").at(10) / metric(runs_ / "1", "validation_loss").at(10),
          1.0, 1e-4);
      const std::vector<float> actual = parameters(runs_ / ranks);
      double difference = 0.0;
      for (std::size_t i = 0; i < expected.size(); ++i) difference += std::pow(actual[i] - expected[i], 2);
      EXPECT_LT(std::sqrt(difference / norm), 1e-4) << ranks;
    }
  }

  static inline std::unique_ptr<TempDir> folder_;
  TempDir runs_;
};

TEST_F(TrainingTest, AnyNumberOfRanksTrainsTheSameModel) {
  const std::vector<std::string> overrides = {"train.steps=10", "train.batch_sequences=6",
                                              "train.microbatch_sequences=2", "train.log_every=1",
                                              "model.dropout=0.1"};
  expect_same_model(overrides, {1, 2, 4});
}

// Ranks, and their microbatches, run different numbers of loops.
TEST_F(TrainingTest, AnyNumberOfRanksTrainsTheSameLoopedModel) {
  expect_same_model({"train.steps=10", "train.batch_sequences=6", "train.microbatch_sequences=1",
                     "train.log_every=1", "model.dropout=0.1", "model.loops=4", "model.halting=true"},
                    {1, 3});
}

// Documents of some 80 tokens in sequences of 32, so that most begin inside one.
TEST_F(TrainingTest, SeparateDocumentsTrainTheSameOnAnyRanksAndAreEvaluatedSo) {
  const std::vector<std::string> overrides = {
      "train.steps=5",     "train.batch_sequences=6", "train.microbatch_sequences=2",
      "train.log_every=1", "model.positions=rope",    "data.documents=separate"};
  for (const int ranks : {1, 2}) train(ranks, runs_ / std::to_string(ranks), overrides);
  const auto alone = metric(runs_ / "1", "loss"), both = metric(runs_ / "2", "loss");
  ASSERT_EQ(alone.size(), 5U);
  for (const auto& [step, loss] : alone) EXPECT_NEAR(both.at(step) / loss, 1.0, 1e-5) << step;

  const double validated = metric(runs_ / "1", "validation_loss").at(5);
  const auto evaluated = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {TRIREME_PROGRAM, "evaluate", runs_ / "1", "--json", "--sequences", "8"});
    Program program(words);
    EXPECT_EQ(program.wait(), 0) << program.errors();
    return nlohmann::json::parse(program.output())["loss"].get<double>();
  };
  EXPECT_NEAR(evaluated({}), validated, 1e-5 * validated);
  EXPECT_NE(evaluated({"--documents", "joined"}), evaluated({}));
}

TEST_F(TrainingTest, BucketsAndMicrobatchesDoNotMatter) {
  train(2, runs_ / "a", {"train.steps=5", "train.log_every=1", "parallel.bucket_mib=0.01"});
  train(2, runs_ / "b", {"train.steps=5", "train.log_every=1", "train.microbatch_sequences=1"});
  EXPECT_NEAR(metric(runs_ / "a", "loss").at(5) / metric(runs_ / "b", "loss").at(5), 1.0, 1e-5);
}

// Stopped by a signal in the middle of an epoch (and of a step's microbatches), gone on with, compared to the
// bit.
TEST_F(TrainingTest, ResumesBitForBit) {
  for (const int ranks : {1, 2}) {
    const std::vector<std::string> overrides = {"train.steps=60",
                                                "train.log_every=1",
                                                "checkpoint.every=20",
                                                "checkpoint.keep_last=100",
                                                "train.microbatch_sequences=1",
                                                "model.dropout=0.1",
                                                "train.eval_every=20"};
    const std::string whole = runs_ / ("whole" + std::to_string(ranks));
    const std::string parts = runs_ / ("parts" + std::to_string(ranks));
    train(ranks, whole, overrides);
    int interruptions = 0;
    for (int code = -1; code != 0;) {
      Program program(command(ranks, parts, overrides));
      const auto logged = metric(parts, "loss");
      const std::int64_t reached = logged.empty() ? 0 : logged.rbegin()->first;
      if (reached < 50 && program.wait_for_output("step " + std::string(reached + 7 < 10 ? " " : "") +
                                                  std::to_string(reached + 7) + "/60")) {
        program.kill(SIGUSR1);
        ++interruptions;
      }
      code = program.wait();
      ASSERT_TRUE(code == 0 || code == 85) << program.output() << program.errors();
    }
    EXPECT_GE(interruptions, 3);
    EXPECT_GT(find_checkpoints(parts).size(), find_checkpoints(whole).size())
        << "no interruption fell between saves";
    EXPECT_EQ(state_after(parts, 60), state_after(whole, 60));
    EXPECT_EQ(state_after(parts, 40), state_after(whole, 40));
    for (const char* key : {"loss", "grad_norm", "validation_loss", "tokens"}) {
      EXPECT_EQ(metric(parts, key), metric(whole, key)) << key;
    }
  }
}

TEST_F(TrainingTest, GoesOnWithAnotherNumberOfRanks) {
  const std::vector<std::string> overrides = {"train.steps=30", "train.log_every=1", "checkpoint.every=10",
                                              "checkpoint.keep_last=9"};
  train(1, runs_ / "one", overrides);
  train(3, runs_ / "mixed",
        {"train.steps=30", "train.log_every=1", "checkpoint.every=10", "checkpoint.keep_last=9"});
  fs::remove_all(checkpoint_folder(runs_ / "mixed", 30));
  fs::remove_all(checkpoint_folder(runs_ / "mixed", 20));
  train(2, runs_ / "mixed", overrides);
  EXPECT_NEAR(metric(runs_ / "mixed", "loss").at(30) / metric(runs_ / "one", "loss").at(30), 1.0, 1e-4);
  EXPECT_EQ(read_manifest(checkpoint_folder(runs_ / "mixed", 30)).state.samples,
            read_manifest(checkpoint_folder(runs_ / "one", 30)).state.samples);
}

TEST_F(TrainingTest, SignalsSaveAndLeave) {
  const std::map<int, int> expected = {{SIGINT, 0}, {SIGTERM, 85}, {SIGUSR1, 85}};
  for (const auto& [signal, code] : expected) {
    const std::string run = runs_ / std::to_string(signal);
    Program program(command(1, run, {"train.steps=100000", "train.log_every=1", "checkpoint.every=0"}));
    ASSERT_TRUE(program.wait_for_output("step ")) << program.errors();
    program.kill(signal);
    EXPECT_EQ(program.wait(), code);
    EXPECT_EQ(find_checkpoints(run).size(), 1U);
  }
}

TEST_F(TrainingTest, LossThatIsNotFiniteStopsOrIsSkipped) {
  // A rate this high throws the weights to where floats end.
  const std::vector<std::string> wild = {"train.steps=12", "train.log_every=1", "checkpoint.every=1",
                                         "optim.learning_rate=1e30"};
  Program stops(command(2, runs_ / "stops", wild));
  EXPECT_EQ(stops.wait(), 2);
  EXPECT_NE(stops.errors().find("is not a finite number; its last checkpoint is as it was"),
            std::string::npos)
      << stops.errors();
  EXPECT_GE(find_checkpoints(runs_ / "stops").size(), 1U);

  std::vector<std::string> skipping = wild;
  skipping.push_back("train.on_nonfinite=skip");
  train(2, runs_ / "skips", skipping);
  const auto skipped = metric(runs_ / "skips", "skipped_steps");
  EXPECT_EQ(skipped.rbegin()->first, 12);
  EXPECT_GT(skipped.rbegin()->second, 0);
  for (const float value : parameters(runs_ / "skips")) ASSERT_TRUE(std::isfinite(value));
}

TEST_F(TrainingTest, MistakesAreOneLineAndExitCodeTwo) {
  train(1, runs_ / "other", {"train.steps=1", "model.layers=1"});
  struct Case {
    int ranks;
    std::string run;
    std::vector<std::string> overrides;
    std::string message;
  };
  const std::string fresh = runs_ / "fresh";
  const std::vector<Case> cases = {
      {1, fresh, {"data.path=" + (runs_ / "nowhere")}, "nowhere"},
      {1, fresh, {"model.context=1000000"}, "1000000"},
      {1, fresh, {"modle.width=3"}, "model.width"},
      {1, fresh, {"model.width=33"}, "model.heads"},
      {2, fresh, {"parallel.data=3"}, "parallel.data"},
      {4, fresh, {"train.batch_sequences=3"}, "4"},
      {1, runs_ / "other", {"train.steps=2"}, "layers"},
      {1, runs_ / "other", {"train.steps=2", "model.layers=1", "run.seed=99"}, "seed"},
      {1,
       runs_ / "other",
       {"train.steps=2", "model.layers=1", "checkpoint.resume=false"},
       "checkpoint.resume"},
      {1, "/proc/no/such", {}, "/proc/no"},
  };
  for (const Case& c : cases) {
    Program program(command(c.ranks, c.run, c.overrides));
    EXPECT_EQ(program.wait(), 2) << c.message << program.errors();
    const std::string errors = program.errors();
    EXPECT_NE(errors.find("trireme: "), std::string::npos) << errors;
    EXPECT_NE(errors.find(c.message), std::string::npos) << errors;
    EXPECT_EQ(errors.find("trireme: "), errors.rfind("trireme: ")) << "said twice: " << errors;
    EXPECT_FALSE(fs::exists(fs::path(fresh) / "checkpoints")) << c.message;
  }
}

TEST_F(TrainingTest, CheckpointsAndDataCanBeLookedAtAndChecked) {
  const std::string run = runs_ / "run";
  train(2, run, {"train.steps=20"});
  const auto outcome = [](std::vector<std::string> words) {
    words.insert(words.begin(), TRIREME_PROGRAM);
    Program program(std::move(words));
    const int code = program.wait();
    return std::to_string(code) + "\n" + program.output() + program.errors();
  };
  EXPECT_NE(outcome({"checkpoint", "inspect", run}).find("parameter blocks.1.mlp.out.weight [32, 128]"),
            std::string::npos);
  EXPECT_EQ(
      nlohmann::json::parse(outcome({"checkpoint", "inspect", run, "--json"}).substr(2))["state"]["step"],
      20);
  const std::string newest = checkpoint_folder(run, 20);
  EXPECT_EQ(outcome({"checkpoint", "verify", run}),
            "0\n" + newest + " is whole\n" + checkpoint_folder(run, 10).string() + " is whole\n");
  flip_bit(newest + "/rank_00000_of_00002.h5", 100000);
  EXPECT_NE(outcome({"checkpoint", "verify", run}).find("1 of 2 checkpoints are damaged"), std::string::npos);

  EXPECT_NE(outcome({"data", "inspect", data()}).find("tokenizer  byte, 257 tokens"), std::string::npos);
  EXPECT_NE(outcome({"data", "verify", data()}).find("train is whole"), std::string::npos);
  const std::string copy = runs_ / "copy";
  fs::copy(data(), copy);
  flip_bit(copy + "/train_00000.h5", 20000);
  EXPECT_EQ(outcome({"data", "verify", copy}).substr(0, 2), "2\n");
}

TEST_F(TrainingTest, TrainedModelsAreEvaluatedAndGenerate) {
  const std::string run = runs_ / "run";
  train(1, run, {"train.steps=150", "train.eval_every=0"});
  Program evaluate({TRIREME_PROGRAM, "evaluate", run, "--json"});
  ASSERT_EQ(evaluate.wait(), 0) << evaluate.errors();
  const auto result = nlohmann::json::parse(evaluate.output());
  EXPECT_LT(result["loss"].get<double>(), 0.75 * result["unigram_entropy"].get<double>());
  EXPECT_NEAR(result["perplexity"].get<double>(), std::exp(result["loss"].get<double>()), 1e-2);

  const auto generate = [&](const std::string& seed) {
    Program program(
        {TRIREME_PROGRAM, "generate", run, "--prompt", "The row", "--tokens", "30", "--seed", seed});
    EXPECT_EQ(program.wait(), 0) << program.errors();
    return program.output();
  };
  const std::string text = generate("1");
  EXPECT_TRUE(text.starts_with("The row")) << text;
  EXPECT_GT(text.size(), 12U);
  EXPECT_EQ(generate("1"), text);
  EXPECT_NE(generate("2"), text);

  Program report({TRIREME_PROGRAM, "report", run});
  EXPECT_EQ(report.wait(), 0) << report.errors();
  EXPECT_GT(fs::file_size(fs::path(run) / "report.html"), 5000U);
}

// A disk that is too small for the second checkpoint: the run goes on from the first when there is room
// again.
TEST_F(TrainingTest, FullDiskLeavesTheLastCheckpoint) {
  const std::string disk = runs_ / "disk";
  fs::create_directory(disk);
  if (std::system(("mount -t tmpfs -o size=1100k tmpfs " + disk + " 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "no permission to mount a small file system";
  }
  const std::string run = disk + "/run";
  const std::vector<std::string> overrides = {"train.steps=40", "checkpoint.every=10",
                                              "checkpoint.keep_last=9"};
  {
    Program program(command(2, run, overrides));
    EXPECT_EQ(program.wait(), 2) << program.output();
    EXPECT_NE(program.errors().find("make room"), std::string::npos) << program.errors();
  }
  const auto kept = find_checkpoints(run);
  EXPECT_FALSE(kept.empty());
  EXPECT_LT(kept.size(), 4U);
  EXPECT_EQ(std::system(("mount -o remount,size=100m " + disk).c_str()), 0);
  {
    Program program(command(2, run, overrides));
    EXPECT_EQ(program.wait(), 0) << program.errors();
    EXPECT_NE(program.output().find("resumed from step_"), std::string::npos) << program.output();
  }
  EXPECT_EQ(std::system(("umount " + disk).c_str()), 0);
}

}  // namespace
}  // namespace trireme
