#include "data/prepare_pairs.h"

#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/file.h"
#include "tests/data/prepared_pairs.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

Sentences pairs_in(const std::string& folder, const char* split) {
  PairDataset dataset(folder, split);
  dataset.verify();
  return pairs_of(dataset);
}

TEST(PreparePairs, EachPairIsInOneSplitAndNoSourceInBoth) {
  const TempDir dir;
  Sentences pairs = made_up_pairs(3000, 1);
  for (int i = 0; i < 1000; ++i)
    pairs.emplace_back(pairs[static_cast<std::size_t>(i)].first, "another translation");
  PairPrepareOptions options = table_options(dir, "out", pairs);
  options.common.validation_fraction = 0.1;
  const PairPrepareSummary summary = prepare_pairs_quietly(options);
  EXPECT_EQ(summary.read.read, 4000);
  EXPECT_EQ(summary.num_duplicates, 0);
  const Sentences train = pairs_in(dir / "out", kTrainSplit);
  const Sentences validation = pairs_in(dir / "out", kValidationSplit);
  EXPECT_NEAR(static_cast<double>(validation.size()), 400.0, 100.0);
  std::set<std::string> sources;
  for (const auto& [source, target] : train) sources.insert(source);
  for (const auto& [source, target] : validation) EXPECT_FALSE(sources.contains(source)) << source;
  // In order, none lost.
  std::size_t t = 0;
  std::size_t v = 0;
  for (const auto& pair : pairs) {
    if (t < train.size() && train[t] == pair) {
      ++t;
    } else {
      ASSERT_LT(v, validation.size());
      ASSERT_EQ(validation[v++], pair);
    }
  }
  EXPECT_EQ(t + v, pairs.size());
  options.common.seed = 1;
  options.common.output = dir / "other";
  prepare_pairs_quietly(options);
  EXPECT_NE(pairs_in(dir / "other", kValidationSplit), validation);
}

TEST(PreparePairs, DuplicatesAreLeftOutAndCounted) {
  const TempDir dir;
  const Sentences unique = made_up_pairs(5000, 2);
  Sentences pairs = unique;
  pairs.insert(pairs.end(), unique.begin(), unique.begin() + 2000);
  PairPrepareOptions options = table_options(dir, "out", pairs);
  options.common.validation_fraction = 0.0;
  const PairPrepareSummary summary = prepare_pairs_quietly(options);
  EXPECT_EQ(summary.read.read, 7000);
  EXPECT_EQ(summary.num_duplicates, 2000);
  EXPECT_EQ(pairs_in(dir / "out", kTrainSplit), unique);
  EXPECT_THAT(pairs_in(dir / "out", kValidationSplit), SizeIs(0));
}

TEST(PreparePairs, WhatIsTooLongEmptyOrNoUtf8IsCounted) {
  const TempDir dir;
  PairPrepareOptions options = table_options(dir, "out",
                                             {{"12345678", "1234"},
                                              {"123456789", "1"},
                                              {"1", "123456789"},
                                              {" ", "x"},
                                              {"x", ""},
                                              {"\xFF", "y"},
                                              {"z", "12345678"}});
  options.max_tokens = 8;
  options.common.validation_fraction = 0.0;
  const PairPrepareSummary summary = prepare_pairs_quietly(options);
  EXPECT_EQ(summary.read.read, 5);
  EXPECT_EQ(summary.read.empty, 2);
  EXPECT_EQ(summary.num_too_long, 2);
  EXPECT_EQ(summary.num_not_utf8, 1);
  EXPECT_THAT(pairs_in(dir / "out", kTrainSplit),
              ElementsAre(Pair("12345678", "1234"), Pair("\xFF", "y"), Pair("z", "12345678")));
}

TEST(PreparePairs, ManifestCountsWhatIsThere) {
  const TempDir dir;
  PairPrepareOptions options = table_options(dir, "out", {{"ab", "aaa"}, {"c", "b"}, {"dddd", "e"}});
  options.common.validation_fraction = 0.0;
  options.common.shard_tokens = 7;  // the first two pairs fill it to the brim
  const Manifest manifest = prepare_pairs_quietly(options).manifest;
  EXPECT_EQ(manifest.content, Content::kPairs);
  const SplitFacts& train = manifest.splits.at(kTrainSplit);
  EXPECT_EQ(train.num_documents, 3);
  EXPECT_EQ(train.num_tokens, 12);
  EXPECT_EQ(train.num_source_tokens, 7);
  EXPECT_EQ(train.num_bytes, 12);
  ASSERT_THAT(train.shards, SizeIs(2));
  EXPECT_EQ(train.shards[0].num_documents, 2);
  EXPECT_EQ(train.shards[0].num_tokens, 7);
  // Targets: a a a, b, e, and three ends.
  EXPECT_NEAR(train.unigram_entropy, 2 * -0.375 * std::log(0.375) - 2 * 0.125 * std::log(0.125), 1e-12);
  const Manifest loaded = load_manifest(dir / "out");
  EXPECT_EQ(loaded.to_json(), read_whole_file(dir / "out/manifest.json"));
  EXPECT_EQ(loaded.dataset_id, loaded.computed_id());
}

TEST(PreparePairs, OneTokenizerLearnsFromBothSides) {
  const TempDir dir;
  Sentences pairs;
  for (int i = 0; i < 300; ++i)
    pairs.emplace_back("the weather of day " + std::to_string(i), "das Wetter am Tag " + std::to_string(i));
  PairPrepareOptions options = table_options(dir, "out", pairs);
  options.common.tokenizer = "bpe";
  options.common.vocab_size = 290;
  const PairPrepareSummary summary = prepare_pairs_quietly(options);
  EXPECT_GT(summary.training_bytes, 300 * 36);
  const auto tokenizer = load_tokenizer(dir / "out/tokenizer.json");
  for (const char* word : {" weather", " Wetter"}) {
    std::vector<std::int32_t> tokens;
    tokenizer->encode(word, tokens);
    EXPECT_THAT(tokens, SizeIs(1)) << word;
  }
  EXPECT_THAT(pairs_in(dir / "out", kTrainSplit), testing::Contains(pairs[7]));
  // A text's tokenizer will do, too.
  options.common.tokenizer = dir / "out/tokenizer.json";
  options.common.output = dir / "again";
  EXPECT_EQ(prepare_pairs_quietly(options).manifest.dataset_id, summary.manifest.dataset_id);
}

TEST(PreparePairs, AlignedFilesGiveTheSameAsATable) {
  const TempDir dir;
  const Sentences pairs = made_up_pairs(100, 3);
  PairPrepareOptions options = table_options(dir, "table", pairs);
  std::ofstream sources(dir / "a.en");
  std::ofstream targets(dir / "a.de");
  for (const auto& [source, target] : pairs) {
    sources << source << '\n';
    targets << target << '\n';
  }
  sources.close();
  targets.close();
  const PairPrepareSummary table = prepare_pairs_quietly(options);
  options.inputs = {.sources = {dir / "a.en"}, .targets = {dir / "a.de"}};
  options.common.output = dir / "lines";
  const PairPrepareSummary lines = prepare_pairs_quietly(options);
  EXPECT_EQ(lines.manifest.to_json(), table.manifest.to_json());
  EXPECT_EQ(read_whole_file(dir / "lines/train_00000.h5"), read_whole_file(dir / "table/train_00000.h5"));
}

TEST(PreparePairs, RefusesWhatCannotBe) {
  const TempDir dir;
  const auto refuse = [&](const std::function<void(PairPrepareOptions&)>& spoil, const auto& message) {
    PairPrepareOptions options = table_options(dir, "out", {{"one", "eins"}, {"two", "zwei"}});
    spoil(options);
    EXPECT_THAT([&] { prepare_pairs_quietly(options); }, ThrowsUserError(message));
    EXPECT_FALSE(std::filesystem::exists(dir / "out"));
  };
  refuse([](auto& options) { options.max_tokens = 0; }, HasSubstr("--max-tokens: is 0"));
  refuse([](auto& options) { options.max_tokens = 65536; }, HasSubstr("--max-tokens: is 65536"));
  refuse([](auto& options) { options.max_tokens = 2; }, HasSubstr("--max-tokens: leaves nothing"));
  refuse([](auto& options) { options.common.validation_fraction = 0.7; }, HasSubstr("--validation-fraction"));
  refuse([](auto& options) { options.common.vocab_size = -1; }, HasSubstr("--vocab-size"));
  refuse([&](auto& options) { std::ofstream(options.inputs.inputs[0]) << " \t \n"; },
         HasSubstr("out.tsv: holds no pair"));
  refuse([&](auto& options) { std::ofstream(options.inputs.inputs[0]) << "one\teins\nno translation\n"; },
         HasSubstr("out.tsv:2"));
}

TEST(PreparePairs, TextAndPairsAreToldApart) {
  const TempDir dir;
  prepare_pairs_quietly(table_options(dir, "pairs", made_up_pairs(50, 4)));
  std::ofstream(dir / "a.txt") << "some text";
  PrepareOptions text;
  text.inputs = {dir / "a.txt"};
  text.output = dir / "text";
  text.tokenizer = "byte";
  prepare(text, [](const PrepareProgress&) {});
  EXPECT_THAT([&] { TokenDataset(dir / "pairs", kTrainSplit); },
              ThrowsUserError(AllOf(HasSubstr("/pairs: holds pairs"), HasSubstr("encoder-decoder"))));
  EXPECT_THAT([&] { PairDataset(dir / "text", kTrainSplit); },
              ThrowsUserError(AllOf(HasSubstr("/text: holds text"), HasSubstr("prepare --pairs"))));
}

}  // namespace
}  // namespace trireme
