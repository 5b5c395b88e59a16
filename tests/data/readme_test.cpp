// The programs in data/README.md do what the page says.
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/token_dataset.h"
#include "tests/data/prepared.h"
#include "tests/data/prepared_pairs.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"

namespace trireme {
namespace {

constexpr const char* kPython = "/usr/bin/python3";  // the system's own: it has the system's h5py

// The Python programs of the page, in order.
std::vector<std::string> programs_of_page() {
  const std::string page = read_whole_file(std::string(TRIREME_SOURCE_DIR) + "/data/README.md");
  const std::string fence = "```";
  std::vector<std::string> programs;
  for (std::size_t at = 0; (at = page.find(fence + "python\n", at)) != std::string::npos;) {
    at += fence.size() + 7;
    programs.push_back(page.substr(at, page.find(fence, at) - at));
  }
  return programs;
}

bool has_h5py() {
  return std::system((std::string(kPython) + " -c 'import h5py' 2>/dev/null").c_str()) == 0;
}

// What the program prints.
std::string run(const TempDir& dir, const std::string& program, const std::string& arguments) {
  write_durably(dir / "program.py", program, IfExists::kReplace);
  const std::string command = std::string(kPython) + " " + dir / "program.py" + " " + arguments + " 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  EXPECT_EQ(::pclose(pipe), 0) << output;
  return output;
}

class ReadmeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_h5py()) GTEST_SKIP() << kPython << " has no h5py";
    ASSERT_EQ(programs_.size(), 3u);
  }
  const std::vector<std::string> programs_ = programs_of_page();
  const TempDir dir_;
};

TEST_F(ReadmeTest, H5pyReadsWhatPrepareWrites) {
  const std::string folder = prepare_bytes(dir_, "out", made_up_prose(50000, 1), 20000);
  TokenDataset dataset(folder, kTrainSplit);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  dataset.read(0, tokens);
  std::ostringstream expected;
  expected << tokens.size() << " tokens, 1 documents, the sum is "
           << std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0}) << "\n";
  EXPECT_EQ(run(dir_, programs_.at(0), folder), expected.str());
}

TEST_F(ReadmeTest, H5pyReadsPairs) {
  PairPrepareOptions options = table_options(dir_, "out", {{"ab", "c"}, {"d", "efg"}, {"h", "i"}});
  options.common.validation_fraction = 0.0;
  options.common.shard_tokens = 7;  // the third pair is in a shard of its own
  prepare_pairs_quietly(options);
  EXPECT_EQ(run(dir_, programs_.at(1), options.common.output),
            "97 98 -> 99\n100 -> 101 102 103\n104 -> 105\n");
}

TEST_F(ReadmeTest, PrepareReadsWhatH5pyWrites) {
  const std::string source = prepare_bytes(dir_, "out", "some text", 20000);
  EXPECT_EQ(run(dir_, programs_.at(2), source + " " + dir_ / "made"), "");
  TokenDataset train(dir_ / "made", kTrainSplit);
  train.verify();
  EXPECT_EQ(train.num_tokens(), 50 * (15 + 16));
  std::vector<std::int32_t> tokens(15);
  train.read(31, tokens);
  EXPECT_EQ(std::string(tokens.begin(), tokens.end() - 1), "first document");
  EXPECT_EQ(tokens.back(), 256);
  TokenDataset validation(dir_ / "made", kValidationSplit);
  validation.verify();
  EXPECT_EQ(validation.num_tokens(), 15);
}

}  // namespace
}  // namespace trireme
