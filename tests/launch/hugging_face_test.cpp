// A model on its way to Hugging Face and back: export, import, generate, and training from where it was.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/file.h"
#include "parallel/self_communicator.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

using testing::HasSubstr;

class HuggingFaceRoundTrip : public ::testing::Test {
 protected:
  // Runs the program; its output.
  std::string run(std::vector<std::string> words, int exit_code = 0) {
    words.insert(words.begin(), TRIREME_PROGRAM);
    Program program(words);
    EXPECT_EQ(program.wait(), exit_code) << program.output() << program.errors();
    return program.output() + program.errors();
  }
  std::vector<float> parameters(const std::string& name) {
    SelfCommunicator alone;
    const TrainedModel trained = load_model(dir_ / name, alone);
    const Tensor values = trained.model->parameters().values();
    return {values.data<float>(), values.data<float>() + values.num_elements()};
  }
  const TempDir dir_;
};

TEST_F(HuggingFaceRoundTrip, EndsWhereItBegan) {
  const std::string tokenizer = TRIREME_SOURCE_DIR "/tests/data/golden/gpt2.json";
  std::ofstream text(dir_ / "text.txt");
  for (int i = 0; i < 2000; ++i) text << "The rower of ship " << i << " called the stroke.\n\n";
  text.close();
  run({"prepare", dir_ / "text.txt", "--tokenizer", tokenizer, "--output", dir_ / "data"});
  run({"train", TRIREME_SOURCE_DIR "/configs/tiny.toml", "data.path=" + (dir_ / "data"),
       "run.directory=" + (dir_ / "ours"), "train.steps=3", "optim.warmup_steps=0", "model.vocabulary=1000"});

  EXPECT_THAT(run({"checkpoint", "export", dir_ / "ours", "--output", dir_ / "theirs"}),
              HasSubstr("with its tokenizer"));
  EXPECT_EQ(read_whole_file(dir_ / "theirs/tokenizer.json"), read_whole_file(tokenizer));
  EXPECT_THAT(run({"checkpoint", "import", dir_ / "theirs", "--output", dir_ / "back"}),
              HasSubstr("a gpt2 of"));
  EXPECT_EQ(parameters("back"), parameters("ours"));
  const std::vector<std::string> options = {"--prompt", "The rower", "--tokens", "20", "--seed", "3"};
  const auto generated = [&](const std::string& name) {
    std::vector<std::string> words = {"generate", dir_ / name};
    words.insert(words.end(), options.begin(), options.end());
    return run(words);
  };
  EXPECT_THAT(generated("back"), HasSubstr("The rower"));
  EXPECT_EQ(generated("back"), generated("ours"));

  const std::vector<std::string> training = {"train",
                                             dir_ / "back/config.toml",
                                             "data.path=" + (dir_ / "data"),
                                             "run.directory=" + (dir_ / "tuned"),
                                             "train.batch_sequences=2",
                                             "train.steps=1",
                                             "optim.learning_rate=1e-7",
                                             "optim.weight_decay=0"};
  EXPECT_THAT(run(training), HasSubstr("a new run from"));
  const std::vector<float> before = parameters("ours");
  const std::vector<float> after = parameters("tuned");
  ASSERT_EQ(after.size(), before.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < after.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(after[i]) - static_cast<double>(before[i])));
  EXPECT_GT(largest, 0.0);
  EXPECT_LT(largest, 1e-6);

  const auto refused = [&](const std::string& key) {
    std::vector<std::string> words = training;
    words.push_back("run.directory=" + (dir_ / "refused"));
    words.push_back(key);
    return run(words, 2);
  };
  EXPECT_THAT(refused("model.layers=3"), HasSubstr("is of another model: layers is"));
  EXPECT_THAT(refused("model.vocabulary=100"), HasSubstr("model.vocabulary: is 100, but the data have"));
  EXPECT_THAT(refused("train.init_from=" + (dir_ / "nothing")), HasSubstr("there is no checkpoint"));
}

}  // namespace
}  // namespace trireme
