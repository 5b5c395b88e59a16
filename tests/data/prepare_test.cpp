#include "data/prepare.h"

#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/split_plan.h"
#include "data/text_sample.h"
#include "data/token_dataset.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/data/prepared.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<std::int32_t> tokens_of(const std::string& folder, const char* split) {
  TokenDataset dataset(folder, split);
  dataset.verify();
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  dataset.read(0, tokens);
  return tokens;
}

// The documents of a split.
std::vector<std::string> texts_of(const std::string& folder, const char* split) {
  const auto tokenizer = load_tokenizer(folder + "/tokenizer.json");
  std::vector<std::string> texts(1);
  for (const std::int32_t token : tokens_of(folder, split)) {
    texts.back() += tokenizer->bytes_of(token);
    if (token == tokenizer->end_of_document()) texts.emplace_back();
  }
  EXPECT_EQ(texts.back(), "") << "the last document has no end";
  texts.pop_back();
  return texts;
}

std::string contents_of(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::string all;
  for (const auto& file : files) all += file.filename().string() + "\n" + read_whole_file(file);
  return all;
}

PrepareOptions options_for(const std::string& input, const std::string& output) {
  PrepareOptions options;
  options.inputs = {input};
  options.output = output;
  options.vocab_size = 500;
  return options;
}

TEST(Prepare, ManyDocumentsAreDrawnWhole) {
  const TempDir dir;
  std::string rows;
  std::vector<std::string> documents;
  for (int i = 0; i < 2000; ++i) {
    documents.push_back("document " + std::to_string(i) + (i % 7 == 0 ? "\xff" : ""));
    rows += documents.back() + "\n%\n";
  }
  write_durably(dir / "a.txt", rows);
  PrepareOptions options = options_for(dir / "a.txt", dir / "out");
  options.documents.separator = "%";
  options.validation_fraction = 0.1;
  const PrepareSummary summary = prepare_quietly(options);
  EXPECT_FALSE(summary.documents_cut);
  EXPECT_EQ(summary.num_documents, 2000);
  EXPECT_EQ(summary.num_not_utf8, 286);
  const auto train = texts_of(dir / "out", "train");
  const auto validation = texts_of(dir / "out", "validation");
  EXPECT_NEAR(static_cast<double>(validation.size()), 200.0, 50.0);
  // Each document is in one of the two, in order, byte for byte.
  std::size_t t = 0;
  std::size_t v = 0;
  for (const std::string& document : documents) {
    if (t < train.size() && train[t] == document + "\n") {
      ++t;
    } else {
      ASSERT_LT(v, validation.size());
      ASSERT_EQ(validation[v++], document + "\n");
    }
  }
  EXPECT_EQ(t, train.size());
  EXPECT_EQ(v, validation.size());
}

TEST(Prepare, AFewLongDocumentsAreCutAtTheirEnds) {
  const TempDir dir;
  const std::string first = made_up_prose(3 << 20, 1);
  std::string second;
  while (second.size() < 100000) second += "日本語";
  std::filesystem::create_directory(dir / "in");
  write_durably(dir / "in/1.txt", first);
  write_durably(dir / "in/2.txt", second);
  write_durably(dir / "in/3.txt", "tiny");  // too small to cut
  const PrepareSummary summary = prepare_quietly(options_for(dir / "in", dir / "out"));
  EXPECT_TRUE(summary.documents_cut);
  const auto train = texts_of(dir / "out", "train");
  const auto validation = texts_of(dir / "out", "validation");
  ASSERT_EQ(train.size(), 3u);
  ASSERT_EQ(validation.size(), 2u);
  EXPECT_EQ(train[0] + validation[0], first);
  EXPECT_EQ(train[1] + validation[1], second);
  EXPECT_EQ(train[2], "tiny");
  EXPECT_NEAR(static_cast<double>(validation[0].size()), 0.05 * static_cast<double>(first.size()), 4.0);
  EXPECT_EQ(validation[1].substr(0, 3).size() + train[1].size() % 3, 3u) << "a character was cut";
}

TEST(Prepare, OneDocumentThatOutweighsAllIsCutToo) {
  SplitPlanner planner(0.1, 1);
  for (int i = 0; i < 300; ++i) planner.add_document(100);
  planner.add_document(1000000);
  const SplitPlan plan = planner.finish();
  EXPECT_TRUE(plan.cuts_documents());
  EXPECT_EQ(plan.validation_begin(0), 90);
  EXPECT_EQ(plan.validation_begin(300), 900000);
}

TEST(Prepare, NoValidationIfNotWanted) {
  const TempDir dir;
  write_durably(dir / "a.txt", "some text, and more");
  PrepareOptions options = options_for(dir / "a.txt", dir / "out");
  options.validation_fraction = 0.0;
  prepare_quietly(options);
  EXPECT_EQ(texts_of(dir / "out", "train"), std::vector<std::string>{"some text, and more"});
  EXPECT_TRUE(texts_of(dir / "out", "validation").empty());
}

TEST(Prepare, IsTheSameEachTimeAndFromArchives) {
  const TempDir dir;
  const std::string text = made_up_prose(3 << 20, 5);
  write_durably(dir / "a.txt", text);
  const PrepareSummary first = prepare_quietly(options_for(dir / "a.txt", dir / "one"));
  std::this_thread::sleep_for(
      std::chrono::milliseconds(1100));  // no time of day, in seconds, is in the files
  prepare_quietly(options_for(dir / "a.txt", dir / "two"));
  EXPECT_TRUE(contents_of(dir / "one") == contents_of(dir / "two"));
  const std::string zstd = "zstd -q " + dir / "a.txt" + " -o " + dir / "a.zst";
  if (std::system(zstd.c_str()) == 0) {
    const PrepareSummary packed = prepare_quietly(options_for(dir / "a.zst", dir / "three"));
    EXPECT_EQ(packed.manifest.dataset_id, first.manifest.dataset_id);
  }
  write_durably(dir / "b.txt", text + "!");
  const PrepareSummary other = prepare_quietly(options_for(dir / "b.txt", dir / "four"));
  EXPECT_NE(other.manifest.dataset_id, first.manifest.dataset_id);
}

TEST(Prepare, PiecesOfALongDocumentAreTokenizedAsOne) {
  const TempDir dir;
  const std::string text = made_up_prose(2 * kPieceBytes + 100, 6);
  write_durably(dir / "a.txt", text);
  PrepareOptions options = options_for(dir / "a.txt", dir / "out");
  options.validation_fraction = 0.0;
  prepare_quietly(options);
  const auto tokenizer = load_tokenizer(dir / "out/tokenizer.json");
  std::vector<std::int32_t> expected;
  tokenizer->encode(text, expected);
  expected.push_back(tokenizer->end_of_document());
  EXPECT_EQ(tokens_of(dir / "out", "train"), expected);
}

TEST(Prepare, ManifestCountsWhatIsThere) {
  const TempDir dir;
  write_durably(dir / "a.txt", "aaab");
  PrepareOptions options = options_for(dir / "a.txt", dir / "out");
  options.tokenizer = "byte";
  options.validation_fraction = 0.0;
  options.shard_tokens = 2;
  const SplitFacts train = prepare_quietly(options).manifest.splits.at("train");
  EXPECT_EQ(train.num_tokens, 5);
  EXPECT_EQ(train.num_bytes, 4);
  EXPECT_EQ(train.num_documents, 1);
  EXPECT_EQ(train.shards.size(), 3u);
  EXPECT_NEAR(train.unigram_entropy, -0.6 * std::log(0.6) - 0.4 * std::log(0.2), 1e-12);
  const Manifest loaded = load_manifest(dir / "out");
  EXPECT_EQ(loaded.to_json(), read_whole_file(dir / "out/manifest.json"));
  EXPECT_EQ(loaded.dataset_id, loaded.computed_id());
}

TEST(Prepare, AnotherDataSetsTokenizerCanBeUsed) {
  const TempDir dir;
  write_durably(dir / "a.txt", made_up_prose(20000, 7));
  write_durably(dir / "b.txt", made_up_prose(20000, 8));
  prepare_quietly(options_for(dir / "a.txt", dir / "one"));
  PrepareOptions options = options_for(dir / "b.txt", dir / "two");
  options.tokenizer = dir / "one/tokenizer.json";
  prepare_quietly(options);
  EXPECT_EQ(read_whole_file(dir / "two/tokenizer.json"), read_whole_file(dir / "one/tokenizer.json"));
}

TEST(Prepare, WideVocabulariesAreStoredInFourBytes) {
  const TempDir dir;
  std::string text;
  std::mt19937_64 random(9);
  for (int i = 0; i < 60000; ++i) {
    std::string word = " ";
    for (int c = 0; c < 6; ++c) word += static_cast<char>('a' + random() % 26);
    text += word + word;
  }
  write_durably(dir / "a.txt", text);
  PrepareOptions options = options_for(dir / "a.txt", dir / "out");
  options.vocab_size = 70000;
  options.validation_fraction = 0.0;
  const PrepareSummary summary = prepare_quietly(options);
  ASSERT_EQ(summary.manifest.vocab_size, 70000);
  EXPECT_EQ(Hdf5Reader(dir / "out/train_00000.h5").array("tokens").type, ElementType::kUInt32);
  EXPECT_EQ(texts_of(dir / "out", "train"), std::vector{text});
}

TEST(TextSample, KeepsAFairBoundedChoice) {
  TextSample sample(100000);
  for (int i = 0; i < 20000; ++i) sample.add(std::to_string(i) + std::string(95, 'x'));
  EXPECT_FALSE(sample.is_whole());
  EXPECT_LE(sample.size_bytes(), 100000);
  EXPECT_GT(sample.size_bytes(), 30000);
  const auto in_second_half =
      std::count_if(sample.pieces().begin(), sample.pieces().end(),
                    [](const auto& piece) { return std::stoi(piece.second) >= 10000; });
  EXPECT_NEAR(static_cast<double>(in_second_half) / static_cast<double>(sample.pieces().size()), 0.5, 0.15);
}

TEST(Prepare, RefusesWhatCannotBe) {
  const TempDir dir;
  write_durably(dir / "a.txt", "some text");
  write_durably(dir / "empty.txt", "");
  write_durably(dir / "a.json", "some text");
  const auto refuse = [&](const std::function<void(PrepareOptions&)>& spoil, const auto& message) {
    PrepareOptions options = options_for(dir / "a.txt", dir / "out");
    spoil(options);
    EXPECT_THAT([&] { prepare_quietly(options); }, ThrowsUserError(message));
    EXPECT_FALSE(std::filesystem::exists(dir / "out"));
  };
  refuse([&](auto& options) { options.inputs = {dir / "none.txt"}; }, HasSubstr("none.txt: cannot open"));
  refuse([&](auto& options) { options.inputs = {dir / "empty.txt"}; }, HasSubstr("holds no text"));
  refuse([](auto& options) { options.vocab_size = 256; },
         AllOf(HasSubstr("--vocab-size: is 256: too small"), HasSubstr("4096")));
  refuse([](auto& options) { options.validation_fraction = 0.7; },
         HasSubstr("--validation-fraction: is 0.7"));
  refuse([](auto& options) { options.validation_fraction = std::nan(""); },
         HasSubstr("--validation-fraction"));
  refuse([](auto& options) { options.shard_tokens = 0; }, HasSubstr("--shard-tokens: is 0"));
  refuse([&](auto& options) { options.tokenizer = dir / "a.json"; }, HasSubstr("a.json: is not valid JSON"));
  refuse([&](auto& options) { options.output = dir / "a.txt"; }, HasSubstr("a.txt: is a file"));
  refuse([&](auto& options) { options.output = dir / "a.txt/out"; }, HasSubstr("cannot create the folder"));
  refuse([&](auto& options) { options.output = dir.path(); }, HasSubstr("holds files that are no data set"));
}

TEST(Prepare, TheOutputMayBeALinkOrEndWithASlash) {
  const TempDir dir;
  write_durably(dir / "a.txt", "some text");
  std::filesystem::create_directories(dir / "real/out");
  std::filesystem::create_directory_symlink(dir / "real/out", dir / "link");
  PrepareOptions options = options_for(dir / "a.txt", dir / "link");
  for (const char* output : {"link", "real/out/", "link/", "real/../link/."}) {
    options.output = dir / output;
    prepare_quietly(options);
    EXPECT_EQ(load_manifest(dir / "link").splits.at("train").num_documents, 1) << output;
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "real"), {}), 1) << output;
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 3) << output;
    options.replace = true;
  }
}

TEST(Prepare, TheOutputMayBeAMereName) {
  const TempDir dir;
  write_durably(dir / "a.txt", "some text");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  prepare_quietly(options_for("a.txt", "out"));
  std::filesystem::current_path(before);
  EXPECT_EQ(load_manifest(dir / "out").splits.at("train").num_documents, 1);
}

TEST(Prepare, ReplacesADataSetOnlyWhenAsked) {
  const TempDir dir;
  write_durably(dir / "a.txt", "some text");
  write_durably(dir / "b.txt", "another text");
  std::filesystem::create_directory(dir / "out");  // empty: fine
  PrepareOptions options = options_for(dir / "a.txt", dir / "out/");
  options.validation_fraction = 0.0;
  prepare_quietly(options);
  options.inputs = {dir / "b.txt"};
  EXPECT_THAT([&] { prepare_quietly(options); },
              ThrowsUserError(AllOf(HasSubstr("holds a data set already"), HasSubstr("--force"))));
  EXPECT_EQ(texts_of(dir / "out", "train"), std::vector<std::string>{"some text"});
  options.replace = true;
  prepare_quietly(options);
  EXPECT_EQ(texts_of(dir / "out", "train"), std::vector<std::string>{"another text"});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 3)
      << "something is left over";
}

TEST(Prepare, AFullDiskIsNamedAndTheOldDataSetStays) {
  const TempDir dir;
  const SmallDisk disk(dir.path(), 8);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a small file system is not permitted here";
  const TempDir elsewhere;
  write_durably(elsewhere / "small.txt", made_up_prose(100000, 12));
  write_durably(elsewhere / "large.txt", made_up_prose(6 << 20, 13));
  PrepareOptions options = options_for(elsewhere / "small.txt", dir / "out");
  options.tokenizer = "byte";
  options.shard_tokens = 1 << 20;
  const std::string id = prepare_quietly(options).manifest.dataset_id;
  options.inputs = {elsewhere / "large.txt"};
  options.replace = true;
  EXPECT_THAT([&] { prepare_quietly(options); },
              ThrowsUserError(AllOf(HasSubstr(".h5"), HasSubstr("No space left"), HasSubstr("MiB free"))));
  TokenDataset dataset(dir / "out", "train");
  dataset.verify();
  EXPECT_EQ(dataset.id(), id);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1)
      << "something is left over";
}

// Kills `prepare` somewhere; false if it was done before.
bool killed_while_preparing(const PrepareOptions& options, std::chrono::microseconds after) {
  const pid_t child = ::fork();
  if (child == 0) {
    prepare_quietly(options);
    ::_exit(0);
  }
  std::this_thread::sleep_for(after);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status);
}

TEST(Prepare, KilledItLeavesAWholeDataSetOrNone) {
  const TempDir dir;
  write_durably(dir / "a.txt", made_up_prose(400000, 10));
  write_durably(dir / "b.txt", made_up_prose(400000, 11));
  PrepareOptions options = options_for(dir / "a.txt", dir / "out");
  options.shard_tokens = 30000;
  const auto begin = std::chrono::steady_clock::now();
  const std::string old_id = prepare_quietly(options).manifest.dataset_id;
  const auto whole =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  std::filesystem::remove_all(dir / "out");
  PrepareOptions replacement = options;
  replacement.inputs = {dir / "b.txt"};
  replacement.replace = true;

  std::mt19937_64 random(std::random_device{}());
  int num_killed = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto after = whole * static_cast<std::int64_t>(random() % 120) / 100;
    num_killed += killed_while_preparing(options, after) ? 1 : 0;
    if (std::filesystem::exists(dir / "out")) {
      EXPECT_EQ(TokenDataset(dir / "out", "train").id(), old_id);
      TokenDataset(dir / "out", "train").verify();
      TokenDataset(dir / "out", "validation").verify();
    } else {
      options.replace = true;  // changes nothing
      prepare_quietly(options);
    }
    killed_while_preparing(replacement, after);
    TokenDataset train(dir / "out", "train");  // the old one or the new one
    train.verify();
    TokenDataset(dir / "out", "validation").verify();
    std::filesystem::remove_all(dir / "out");
    options.replace = false;
  }
  EXPECT_GT(num_killed, 0);
  prepare_quietly(options);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 3)
      << "left-overs were not removed";
}

}  // namespace
}  // namespace trireme
