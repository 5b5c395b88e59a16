// Layouts of ranks train the same model, and go on where another one stopped: whole runs of the program.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/buffer.h"
#include "parallel/self_communicator.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/pieces.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

void append(Words& words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
}

// Two data sets that all tests share: text, and pairs of sentences of different lengths.
class Layouts : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    std::mt19937 random(1);
    std::ofstream text(*folder_ / "text.txt"), pairs(*folder_ / "pairs.tsv");
    const Words english = {"one", "two", "six", "ten"}, german = {"eins", "zwei", "sechs", "zehn"};
    for (int i = 0; i < 600; ++i) {
      text << "%\nShip " << i % 50 << " called the stroke " << i * i % 97 << " times, and the oars fell.\n";
      std::string source, target;
      for (int word = 0; word < 1 + i % 6; ++word) {
        const std::size_t number = random() % 4;
        source += (word > 0 ? " " : "") + english[number];
        target += (word > 0 ? " " : "") + german[number];
      }
      pairs << source << '\t' << target << '\n';
    }
    text.close();
    pairs.close();
    prepare({*folder_ / "text.txt", "--separator", "%", "--output", data("text")});
    prepare({"--pairs", *folder_ / "pairs.tsv", "--validation-fraction", "0.1", "--output", data("pairs")});
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static void prepare(const Words& arguments) {
    Words words = {TRIREME_PROGRAM, "prepare", "--tokenizer", "byte"};
    append(words, arguments);
    Program program(words);
    ASSERT_EQ(program.wait(), 0) << program.errors();
  }
  static std::string data(const std::string& name) { return *folder_ / name; }

  static Words command(int ranks, const std::string& name, const Words& overrides) {
    Words words;
    if (ranks > 1) words = {TRIREME_MPIRUN, std::to_string(ranks)};
    append(words, {TRIREME_PROGRAM, name, TRIREME_SOURCE_DIR "/configs/tiny.toml"});
    append(words, overrides);
    return words;
  }

  static inline std::unique_ptr<TempDir> folder_;
  TempDir runs_;
};

// --- The same numbers ---

struct Model {
  std::string name;
  std::string data;
  Words overrides;
  Words layouts;
  int ranks = 8;  // what the largest layout needs
};

std::ostream& operator<<(std::ostream& out, const Model& model) {
  return out << model.name;
}

// A global batch has 8 sequences, or some 15 to 100 pairs; a microbatch 2 sequences, or up to 200 tokens.
std::vector<Model> models() {
  return {
      {"Gpt2",
       "text",
       {"model.layers=3", "model.heads=4", "model.dropout=0.1"},
       {"dp=2",
        "dp=3",
        "dp=8",
        "microbatch=1",
        "dp=4,microbatch=1",
        "dp=4,bucket_mib=0.01",
        "tp=2",
        "tp=4",
        "pp=2",
        "pp=3",
        "tp=2,dp=2",
        "pp=2,dp=2",
        "pp=2,tp=2",
        "pp=2,dp=2,tp=2",
        "pp=2,microbatch=1",
        "dp=2,zero=1",
        "dp=4,zero=2",
        "dp=2,zero=3",
        "dp=2,tp=2,zero=1",
        "dp=2,tp=2,zero=2",
        "dp=2,tp=2,zero=3",
        "recompute=selective,tp=2",
        "recompute=full,pp=2",
        "recompute=full,dp=2,zero=3"}},
      {"LlamaWithSharedKeys",
       "text",
       {"model.layers=4", "model.norm=rms", "model.activation=swiglu", "model.positions=rope",
        "model.biases=none", "model.heads=4", "model.kv_heads=2", "model.tied_embeddings=false",
        "data.documents=separate"},
       {"dp=2", "dp=8", "dp=2,microbatch=1", "dp=2,microbatch=4", "tp=2", "tp=4", "pp=4", "pp=2,dp=2,tp=2",
        "dp=2,tp=4,zero=2", "recompute=full,tp=4", "pp=2,schedule=gpipe", "pp=2,tp=2,schedule=zero_bubble",
        "pp=2,dp=2,chunks=2,schedule=interleaved", "pp=2,dp=2,zero=1"}},
      {"EncoderDecoder",
       "pairs",
       {"model.kind=encoder_decoder", "model.encoder_layers=3", "model.context=40",
        "model.positions=sinusoidal", "model.norm_placement=post", "model.dropout=0.1",
        "train.batch_sequences=0", "train.batch_tokens=600", "train.microbatch_tokens=200",
        "train.label_smoothing=0.1"},
       {"dp=2", "dp=3", "dp=8", "microbatch=70", "dp=2,microbatch=70", "dp=2,bucket_mib=0.01", "tp=2", "pp=2",
        "pp=3", "pp=2,dp=2,tp=2", "dp=2,tp=2,zero=3", "recompute=full,pp=2",
        "pp=3,tp=2,schedule=zero_bubble"}},
      {"Encoder",
       "text",
       {"model.kind=encoder", "model.dropout=0.1", "model.output_transform=true", "model.output_bias=true"},
       {"dp=2", "dp=4,microbatch=1"},
       4},
      {"Looped",
       "text",
       {"model.loops=3", "model.halting=true", "model.dropout=0.1"},
       {"dp=2", "dp=4,microbatch=1"},
       4},
  };
}

class SameNumbers : public Layouts, public ::testing::WithParamInterface<Model> {};

TEST_P(SameNumbers, AsOnOneRankAndTheSameBitsAgain) {
  const Model& model = GetParam();
  Words overrides = model.overrides;
  append(overrides, {"data.path=" + data(model.data), "--repeat", "--json", "--layouts"});
  append(overrides, model.layouts);
  Program program(command(model.ranks, "check", overrides));
  const int code = program.wait();
  const auto reports = nlohmann::json::parse(program.output(), nullptr, /*allow_exceptions=*/false);
  ASSERT_EQ(reports.size(), model.layouts.size()) << program.output() << program.errors();
  for (const auto& report : reports) {
    EXPECT_TRUE(report["passes"]) << report.dump(1);
    EXPECT_TRUE(report["repeats"]) << report.dump(1);
  }
  EXPECT_EQ(code, 0) << program.errors();
}

INSTANTIATE_TEST_SUITE_P(, SameNumbers, ::testing::ValuesIn(models()),
                         [](const auto& test) { return test.param.name; });

// What differs is found, and named below the row.
TEST_F(Layouts, CheckFailsWhereALayoutTrainsAnother) {
  Program program(command(2, "check",
                          {"data.path=" + data("text"), "run.directory=" + (runs_ / "run"), "--steps", "4",
                           "--layouts", "dp=2", "optim.warmup_steps=0", "run.seed=1"}));
  EXPECT_EQ(program.wait(), 1) << program.errors();
  const std::string printed = program.output();
  std::vector<Words> rows;  // each with what is said about it
  std::istringstream lines(printed.substr(printed.find("\ndp=2") + 1));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(' ')) {
      rows.back().push_back(line);
    } else {
      rows.push_back({line});
    }
  }
  ASSERT_EQ(rows.size(), 3U) << printed;
  EXPECT_EQ(rows[0].size(), 1U) << printed;
  EXPECT_TRUE(rows[0][0].ends_with("  PASS")) << printed;
  // Another learning rate shows in the parameters of the first step, and in the loss of the second.
  ASSERT_EQ(rows[1].size(), 5U) << printed;
  EXPECT_TRUE(rows[1][0].ends_with("  FAIL")) << printed;
  EXPECT_EQ(rows[1][1], "    loss differs from step 2 on") << printed;
  EXPECT_EQ(rows[1][2], "    norm of the gradient differs from step 2 on") << printed;
  EXPECT_TRUE(rows[1][3].starts_with("    parameters after step 1: ")) << printed;
  EXPECT_EQ(std::count(rows[1][3].begin(), rows[1][3].end(), ','), 4) << printed;
  EXPECT_TRUE(rows[1][4].starts_with("    after step 4: ")) << printed;
  ASSERT_EQ(rows[2].size(), 5U) << printed;
  EXPECT_TRUE(rows[2][1].starts_with("    loss differs from step 1 on, there by 0.00")) << printed;
  EXPECT_NE(rows[2][3].find("embedding.token 5."), std::string::npos) << printed;
  EXPECT_FALSE(fs::exists(runs_ / "run"));
}

TEST_F(Layouts, MistakesInThemAreOneLine) {
  struct Case {
    int ranks;
    Words layouts;
    std::string message;
  };
  const std::vector<Case> cases = {
      {1, {"dp=2", "dp=4"}, "layout \"dp=4\": needs 4 ranks, and there is 1; start so many: mpirun -np 4 "},
      {2, {"dp=2", "dp=3,microbatch=1"}, "--layouts dp=2 dp=3,microbatch=1\n"},
      {2, {"dq=2"}, "layout \"dq=2\": unknown name dq; did you mean dp?"},
      {2, {"dp=2,model.layers=3"}, "are not those of one rank; let the layout leave [model] as it is"},
      {2, {"dp=2,data.path=/no/such"}, "/no/such"},
  };
  for (const Case& c : cases) {
    Words arguments = {"data.path=" + data("text"), "--layouts"};
    append(arguments, c.layouts);
    Program program(command(c.ranks, "check", arguments));
    EXPECT_EQ(program.wait(), 2) << c.message;
    const std::string errors = program.errors();
    EXPECT_NE(errors.find(c.message), std::string::npos) << errors;
    EXPECT_EQ(errors.find("trireme: "), errors.rfind("trireme: ")) << "said twice: " << errors;
  }
}

// Told once, by rank 0, which names the key and what would fit.
TEST_F(Layouts, TrainingRefusesWhatRanksCannotShare) {
  struct Case {
    Words overrides;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{"parallel.tensor=4", "model.heads=2"},
       "parallel.tensor = 4 ranks cannot share model.heads = 2 evenly; for example 2"},
      {{"parallel.tensor=4", "model.heads=12", "model.width=48", "model.kv_heads=6"},
       "parallel.tensor = 4 and model.kv_heads = 6: neither is a multiple of the other; for example 3 or 6"},
      {{"parallel.tensor=2", "model.loops=2"}, "parallel.tensor = 2 does not go with model.loops = 2; set "},
      {{"parallel.tensor=2", "model.kind=encoder"},
       "parallel.tensor = 2 does not go with model.kind = \"encoder\"; set "},
      {{"parallel.tensor=2", "train.eval_attention=2"},
       "parallel.tensor = 2 does not go with train.eval_attention: "},
      {{"parallel.tensor=3"}, "parallel.tensor: "},
      {{"parallel.tensor=2", "parallel.data=3"}, "parallel.data, parallel.tensor: "},
  };
  for (const Case& c : cases) {
    Words overrides = {"data.path=" + data("text"), "run.directory=" + (runs_ / "run")};
    append(overrides, c.overrides);
    Program program(command(4, "train", overrides));
    EXPECT_EQ(program.wait(), 2) << c.message;
    const std::string errors = program.errors();
    EXPECT_NE(errors.find(c.message), std::string::npos) << "not: " << c.message << "\n" << errors;
    EXPECT_EQ(errors.find("trireme: "), errors.rfind("trireme: ")) << "said twice: " << errors;
    EXPECT_FALSE(fs::exists(runs_ / "run"));
  }
}

// --- What goes over an axis ---

// In every step the gradients and two sums of losses are all-reduced; validations, which talk too, don't
// count.
TEST_F(Layouts, BytesOfAStepAreThoseOfTheFormula) {
  for (const int ranks : {1, 2, 3, 4}) {
    const std::string run = runs_ / std::to_string(ranks);
    Program program(command(ranks, "train",
                            {"data.path=" + data("text"), "run.directory=" + run, "train.steps=6",
                             "train.log_every=2", "train.eval_every=1", "optim.warmup_steps=0"}));
    ASSERT_EQ(program.wait(), 0) << program.errors();
    const auto elements = static_cast<double>(read_manifest(checkpoint_folder(run, 6)).num_elements);
    const double expected = 2.0 * 4.0 * (elements + 2.0) * (ranks - 1) / ranks;
    int lines = 0;
    std::ifstream file(run + "/metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto json = nlohmann::json::parse(line);
      if (!json.contains("loss")) continue;
      ++lines;
      ASSERT_EQ(json.contains("traffic"), ranks > 1) << line;
      if (ranks == 1) continue;
      EXPECT_EQ(json["traffic"].size(), 1U) << line;
      EXPECT_NEAR(json["traffic"]["dp"]["bytes_per_step"].get<double>(), expected, 0.5) << line;
      EXPECT_GT(json["traffic"]["dp"]["busy_s"].get<double>(), 0.0) << line;
    }
    EXPECT_EQ(lines, 3);
  }
}

// --- Going on in another layout ---

struct Layout {
  std::string name;
  int ranks;
  Words overrides;
};

std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  return out << layout.name;
}

std::vector<Layout> layouts() {
  return {
      {"Alone", 1, {}},
      {"AloneInPieces", 1, {"train.microbatch_sequences=1"}},
      {"Data2", 2, {}},
      {"Data2InPieces", 2, {"train.microbatch_sequences=1", "parallel.bucket_mib=0.01"}},
      {"Data3", 3, {"train.microbatch_sequences=4"}},
      {"Data4", 4, {}},
      {"Tensor2", 2, {"parallel.tensor=2"}},
      {"Pipeline2", 2, {"parallel.pipeline=2"}},
      {"Pipeline2Tensor2", 4, {"parallel.pipeline=2", "parallel.tensor=2"}},
      {"Data2Zero3", 2, {"parallel.zero=3"}},
      {"Data2Tensor2Zero1", 4, {"parallel.tensor=2", "parallel.zero=1"}},
  };
}

class Resume : public Layouts, public ::testing::WithParamInterface<Layout> {
 protected:
  static constexpr int kSteps = 6;
  static constexpr int kSaved = 3;

  // Returns what it printed.
  static std::string train(const Layout& layout, const std::string& run) {
    Words overrides = {"data.path=" + data("text"), "run.directory=" + run,   "train.steps=6",
                       "checkpoint.every=3",        "checkpoint.keep_last=9", "model.dropout=0.1",
                       "train.eval_every=0",        "optim.epsilon=1e-5"};  // or steps would be made of
                                                                            // rounding, see layout_check.h
    append(overrides, layout.overrides);
    Program program(command(layout.ranks, "train", overrides));
    EXPECT_EQ(program.wait(), 0) << program.errors();
    return program.output();
  }

  // The parameters and both moments at the end, one behind the other.
  static std::vector<std::vector<float>> end_of(const std::string& run) {
    const fs::path folder = checkpoint_folder(run, kSteps);
    const CheckpointManifest manifest = read_manifest(folder);
    Buffer memory(manifest.num_elements * size_bytes(DType::kFloat32));
    memory.zero();
    const Tensor values = memory.tensor(DType::kFloat32, {manifest.num_elements});
    SelfCommunicator alone;
    std::vector<std::vector<float>> all;
    for (const auto& tensor : manifest.tensors) {
      load_tensors(folder, manifest, manifest.layout, {{tensor.name, values, pieces_of(manifest.layout)}},
                   alone);
      all.emplace_back(values.data<float>(), values.data<float>() + values.num_elements());
    }
    return all;
  }

  static void expect_near(const std::vector<std::vector<float>>& actual,
                          const std::vector<std::vector<float>>& expected) {
    ASSERT_EQ(actual.size(), 3U);
    for (std::size_t tensor = 0; tensor < 3; ++tensor) {
      ASSERT_EQ(actual[tensor].size(), expected[tensor].size());
      double difference = 0.0, norm = 0.0;
      for (std::size_t i = 0; i < expected[tensor].size(); ++i) {
        difference += std::pow(actual[tensor][i] - expected[tensor][i], 2);
        norm += std::pow(expected[tensor][i], 2);
      }
      EXPECT_LT(std::sqrt(difference / norm), 1e-4) << "tensor " << tensor;
    }
  }
};

TEST_P(Resume, EndsAsIfItHadNeverStopped) {
  const Layout& first = GetParam();
  train(layouts().front(), runs_ / "alone");
  train(first, runs_ / "whole");
  const auto expected = end_of(runs_ / "alone"), whole = end_of(runs_ / "whole");
  expect_near(whole, expected);
  for (const Layout& second : layouts()) {
    SCOPED_TRACE("goes on in " + second.name);
    const std::string run = runs_ / second.name;
    fs::copy(runs_ / "whole", run, fs::copy_options::recursive);
    fs::remove_all(checkpoint_folder(run, kSteps));
    const std::string printed = train(second, run);
    EXPECT_NE(printed.find("resumed from " + checkpoint_folder(run, kSaved).filename().string()),
              std::string::npos)
        << printed;
    const auto actual = end_of(run);
    expect_near(actual, expected);
    if (second.name == first.name) {
      EXPECT_EQ(actual, whole);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Resume, ::testing::ValuesIn(layouts()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace trireme
