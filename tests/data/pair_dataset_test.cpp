#include "data/pair_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/json.h"
#include "data/shard.h"
#include "data/tokenizer/byte.h"
#include "tests/data/prepared_pairs.h"
#include "tests/support/damage.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(PairDataset, ReadsAnyPairOfManyShards) {
  const TempDir dir;
  const Sentences pairs = made_up_pairs(1000, 1);
  PairPrepareOptions options = table_options(dir, "out", pairs);
  options.common.validation_fraction = 0.0;
  options.common.shard_tokens = 3000;
  prepare_pairs_quietly(options);
  PairDataset dataset(dir / "out", kTrainSplit, /*max_open_shards=*/2);
  EXPECT_GT(dataset.facts().shards.size(), 10u);
  ASSERT_EQ(dataset.num_pairs(), 1000);
  EXPECT_EQ(dataset.end(), kEndOfDocument);
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    const std::size_t i = random() % 1000;
    const auto& [source, target] = pairs[i];
    const PairLengths lengths = {static_cast<std::uint16_t>(source.size()),
                                 static_cast<std::uint16_t>(target.size())};
    ASSERT_EQ(dataset.lengths()[i], lengths);
    std::vector<std::int32_t> source_tokens(source.size());
    std::vector<std::int32_t> target_tokens(target.size());
    dataset.read(static_cast<std::int64_t>(i), source_tokens, target_tokens);
    ASSERT_EQ(std::string(source_tokens.begin(), source_tokens.end()), source);
    ASSERT_EQ(std::string(target_tokens.begin(), target_tokens.end()), target);
  }
}

TEST(PairDataset, ChangedBytesAreFound) {
  const TempDir dir;
  prepare_pairs_quietly(table_options(dir, "out", made_up_pairs(300, 2)));
  const std::string shard = dir / "out/train_00000.h5";
  const auto damage = [&](const char* array) { flip_bit(shard, Hdf5Reader(shard).array(array).offset + 9); };
  for (const char* array : {kSourceLengthsArray, kTargetLengthsArray}) {
    damage(array);
    EXPECT_THAT([&] { PairDataset(dir / "out", kTrainSplit); },
                ThrowsUserError(AllOf(HasSubstr("train_00000.h5"), HasSubstr("corrupt"), HasSubstr(array))));
    damage(array);
  }
  damage(kTokensArray);
  PairDataset dataset(dir / "out", kTrainSplit);
  EXPECT_THAT([&] { pairs_of(dataset); }, ThrowsUserError(HasSubstr("corrupt")));
  EXPECT_THAT([&] { dataset.verify(); }, ThrowsUserError(HasSubstr("corrupt")));
  damage(kTokensArray);
  dataset.verify();
}

// A shard in place of the first one; the manifest names its sizes, but `num_pairs` as it was.
void replace_shard(const std::string& folder, const std::vector<std::uint16_t>& sources,
                   const std::vector<std::uint16_t>& targets, std::size_t num_tokens) {
  const std::string path = folder + "/train_00000.h5";
  {
    Hdf5Writer writer(path);
    writer.set_attribute("format", std::string(kPairShardFormat));
    writer.set_attribute("tokenizer", ByteTokenizer().identity());
    writer.write<std::uint16_t>(kTokensArray, std::vector<std::uint16_t>(num_tokens, 'x'));
    writer.write<std::uint16_t>(kSourceLengthsArray, sources);
    writer.write<std::uint16_t>(kTargetLengthsArray, targets);
    writer.commit(IfExists::kReplace);
  }
  Json json = parse_json(read_whole_file(folder + "/manifest.json"), "manifest");
  Json& split = json["splits"]["train"];
  split["num_tokens"] = num_tokens;
  split["shards"][0]["num_tokens"] = num_tokens;
  split["shards"][0]["size_bytes"] = std::filesystem::file_size(path);
  split["shards"][0]["checksum"] = shard_checksum(Hdf5Reader(path), Content::kPairs);
  write_durably(folder + "/manifest.json", json.dump(), IfExists::kReplace);
}

TEST(PairDataset, LengthsThatCannotBeAreRefused) {
  const TempDir dir;
  PairPrepareOptions options = table_options(dir, "out", {{"ab", "cd"}, {"e", "f"}});
  options.common.validation_fraction = 0.0;
  prepare_pairs_quietly(options);
  const auto refuse = [&](const std::string& what) {
    EXPECT_THAT([&] { PairDataset(dir / "out", kTrainSplit); },
                ThrowsUserError(AllOf(HasSubstr("train_00000.h5"), HasSubstr(what))));
  };
  replace_shard(dir / "out", {2, 1, 1}, {2, 1}, 6);
  refuse("lengths of 3 sources and 2 targets where the manifest names 2 pairs");
  replace_shard(dir / "out", {2, 1}, {2, 2}, 6);
  refuse("has 6 tokens where the lengths of its pairs add up to 7");
  replace_shard(dir / "out", {2, 1}, {3, 0}, 6);
  refuse("an empty sentence, in pair 1");
  replace_shard(dir / "out", {2, 1}, {2, 1}, 6);
  PairDataset dataset(dir / "out", kTrainSplit);
  EXPECT_EQ(pairs_of(dataset), (Sentences{{"xx", "xx"}, {"x", "x"}}));
}

}  // namespace
}  // namespace trireme
