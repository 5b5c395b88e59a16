// trireme attention, and the entropies that a run logs.

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/shell.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

const std::string kProgram = TRIREME_PROGRAM;
constexpr const char* kPython = "/usr/bin/python3";

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Two small trained models that all tests share.
class AttentionTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    std::ofstream text(*folder_ / "text.txt"), table(*folder_ / "pairs.tsv");
    for (int i = 0; i < 300; ++i) {
      text << "%\nThe oars of ship " << i % 50 << " rose " << i * i % 97 << " times and fell again.\n";
      table << "ship " << i << "\tSchiff " << i << '\n';
    }
    text.close();
    table.close();
    run_or_fail(kProgram + " prepare " + *folder_ / "text.txt" + " --separator % --tokenizer byte --output " +
                *folder_ / "text");
    run_or_fail(kProgram + " prepare --pairs " + *folder_ / "pairs.tsv" +
                " --tokenizer byte --validation-fraction 0.1 --output " + *folder_ / "pairs");
    run_or_fail(train(1, "decoder", "train.steps=4 train.eval_every=2 train.eval_attention=3"));
    run_or_fail(kProgram + " train " + kConfig + " run.directory=" + *folder_ / "translator" +
                " data.path=" + *folder_ / "pairs" +
                " model.kind=encoder_decoder model.encoder_layers=1 train.batch_sequences=0 "
                "train.batch_tokens=200 train.steps=4 train.eval_attention=3");
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static Outcome run_or_fail(const std::string& command) {
    Outcome outcome = run_shell(command);
    EXPECT_EQ(outcome.exit_code, 0) << command << "\n" << outcome.errors;
    return outcome;
  }
  static std::string train(int ranks, const std::string& name, const std::string& overrides) {
    return std::string(TRIREME_MPIRUN) + " " + std::to_string(ranks) + " " + kProgram + " train " + kConfig +
           " run.directory=" + *folder_ / name + " data.path=" + *folder_ / "text" + " " + overrides;
  }
  static std::string attention(const std::string& run, const std::string& arguments) {
    return kProgram + " attention " + *folder_ / run + " " + arguments;
  }
  // What the last validation found.
  static nlohmann::json entropies(const std::string& run) {
    nlohmann::json found;
    std::ifstream file(fs::path(*folder_ / run) / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains("attention_entropy")) found = json["attention_entropy"];
    }
    return found;
  }

  static inline std::unique_ptr<TempDir> folder_;
  static inline const std::string kConfig = TRIREME_SOURCE_DIR "/configs/tiny.toml optim.warmup_steps=0";
};

TEST_F(AttentionTest, WritesThePageAndTheNumbers) {
  const Outcome outcome = run_or_fail(attention("decoder", "--text 'two <b> ships'"));
  const fs::path page = *folder_ / "decoder/attention.html";
  EXPECT_EQ(outcome.out, page.string() + "\n");
  const std::string html = contents(page);
  EXPECT_NE(html.find("two &lt;b&gt; ships"), std::string::npos);
  EXPECT_NE(html.find("href=\"attention.h5\""), std::string::npos);
  if (std::system((std::string(kPython) + " -c 'import h5py' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << kPython << " has no h5py";
  const std::string program = *folder_ / "read.py";
  std::ofstream(program) << R"py(
import sys, h5py, numpy
file = h5py.File(sys.argv[1])
print(file.attrs["format"].decode(), sorted(file))
kind = file["decoder"]
print("".join(kind["query_texts"].asstr()[:]), kind["key_tokens"][:4])
for layer in range(2):
    p = kind["layer_%d" % layer][:]
    print(p.shape, p.dtype, abs(p.sum(-1) - 1).max() < 1e-5, (numpy.triu(p, 1) == 0).all())
    entropy = -(p * numpy.log(numpy.where(p > 0, p, 1))).sum(-1).mean(-1)
    place = numpy.arange(p.shape[1])
    distance = (p * abs(place[:, None] - place)).sum(-1).mean(-1)
    print(abs(entropy - kind["entropy"][layer]).max() < 1e-5, abs(distance - kind["distance"][layer]).max() < 1e-4)
)py";
  EXPECT_EQ(run_or_fail(std::string(kPython) + " " + program + " " + *folder_ / "decoder/attention.h5").out,
            "trireme attention ['decoder', 'loss', 'loss_xxh3']\n"
            "⟨end⟩two␣<b>␣ships [256 116 119 111]\n"
            "(2, 14, 14) float32 True True\nTrue True\n"
            "(2, 14, 14) float32 True True\nTrue True\n");
}

TEST_F(AttentionTest, ReadsStandardInputAndACheckpoint) {
  const std::string page = *folder_ / "from_input.html";
  const Outcome outcome =
      run_or_fail("echo ships | " + attention("decoder/checkpoints/step_00000004", "--output " + page));
  EXPECT_EQ(outcome.out, page + "\n");
  const std::string html = contents(page);
  EXPECT_NE(html.find("<h1>decoder</h1><p>Attention of step_00000004</p>"), std::string::npos);
  EXPECT_NE(html.find("<blockquote>ships</blockquote>"), std::string::npos);
  EXPECT_TRUE(fs::exists(*folder_ / "from_input.h5"));
}

TEST_F(AttentionTest, LooksAtATranslation) {
  run_or_fail(attention("translator", "--text 'ship 7' --target 'Schiff 7'"));
  const std::string html = contents(*folder_ / "translator/attention.html");
  for (const std::string part : {"id=cross", "id=encoder", "id=decoder", "<blockquote>ship 7</blockquote>",
                                 "<blockquote>Schiff 7</blockquote>"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  run_or_fail(attention("translator", "--text 'ship 7'"));
}

TEST_F(AttentionTest, MistakesAreTold) {
  const auto error = [](const std::string& command) {
    const Outcome outcome = run_shell(command);
    EXPECT_EQ(outcome.exit_code, 2) << command;
    return outcome.errors;
  };
  EXPECT_EQ(error(attention("decoder", "--text ''")),
            "trireme: --text: is empty; give some text to look at\n");
  EXPECT_EQ(error(attention("decoder", "--text a --target b")),
            "trireme: --target: is for a model that translates, which " + *folder_ / "decoder" +
                " does not; leave it out\n");
  EXPECT_EQ(error(attention("decoder", "--text a --output page.h5")),
            "trireme: --output: page.h5 does not end in .html; name the page\n");
  EXPECT_EQ(error(attention("decoder", "--text a --output " + *folder_ / "none/page.html")),
            "trireme: --output: there is no folder " + *folder_ / "none" + "; make it, or name another\n");
  EXPECT_NE(error(attention("decoder", "--text " + std::string(40, 'a')))
                .find("--text: has 41 tokens with the end, and the model's context is 32"),
            std::string::npos);
  EXPECT_NE(error(attention("none", "--text a")).find("none"), std::string::npos);
  EXPECT_NE(error(attention("decoder", "--txt a")).find("did you mean --text?"), std::string::npos);
}

TEST_F(AttentionTest, EntropiesAreLogged) {
  const nlohmann::json decoder = entropies("decoder");
  ASSERT_EQ(decoder.size(), 1U);
  ASSERT_EQ(decoder["decoder"].size(), 2U);
  for (const auto& layer : decoder["decoder"]) {
    ASSERT_EQ(layer.size(), 2U);
    // Of 32 keys at most: nearly what looking at all alike gives, as the model is nearly untrained.
    for (const auto& head : layer) EXPECT_NEAR(head.get<double>(), 2.547, 0.01);
  }
  const nlohmann::json translator = entropies("translator");
  EXPECT_EQ(translator["encoder"].size(), 1U);
  EXPECT_EQ(translator["decoder"].size(), 2U);
  EXPECT_EQ(translator["cross"].size(), 2U);

  run_or_fail(kProgram + " report " + *folder_ / "translator");
  const std::string html = contents(*folder_ / "translator/report.html");
  for (const std::string part : {"Entropy of attention", "<h3>encoder</h3>", "<h3>cross</h3>"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  std::string events;
  for (const auto& entry : fs::directory_iterator(*folder_ / "decoder/tensorboard"))
    events += contents(entry.path());
  EXPECT_NE(events.find("attention_entropy/decoder_layer_1_head_0"), std::string::npos);
}

// The parameters stay as they are drawn.  A third rank has no sequence to measure.
TEST_F(AttentionTest, EntropiesAreTheSameOnAnyNumberOfRanks) {
  const std::string overrides =
      "train.steps=1 optim.learning_rate=1e-30 optim.min_learning_rate=0 "
      "train.eval_attention=2 train.batch_sequences=6";
  run_or_fail(train(1, "one", overrides));
  const nlohmann::json alone = entropies("one");
  ASSERT_EQ(alone["decoder"].size(), 2U);
  for (const int ranks : {2, 3}) {
    const std::string name = "of_" + std::to_string(ranks);
    run_or_fail(train(ranks, name, overrides));
    EXPECT_EQ(entropies(name), alone) << ranks;
  }
}

}  // namespace
}  // namespace trireme
