#include "data/token_dataset.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/json.h"
#include "data/shard.h"
#include "data/tokenizer/byte.h"
#include "tests/data/prepared.h"
#include "tests/support/damage.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<std::int32_t> read(TokenDataset& dataset, std::int64_t position, std::size_t count) {
  std::vector<std::int32_t> tokens(count);
  dataset.read(position, tokens);
  return tokens;
}

// Of this process.
std::ptrdiff_t num_open_files() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST(TokenDataset, ReadsAnyPlaceAcrossShards) {
  const TempDir dir;
  const std::string text = made_up_prose(200000, 1);
  TokenDataset dataset(prepare_bytes(dir, "out", text, 7001), kTrainSplit, /*max_open_shards=*/3);
  ASSERT_EQ(dataset.num_tokens(), 190000 + 1);
  EXPECT_EQ(dataset.facts().shards.size(), 28u);
  EXPECT_EQ(dataset.vocab_size(), 257);
  const auto before = num_open_files();
  std::mt19937_64 random(1);
  for (int round = 0; round < 500; ++round) {
    const std::size_t count = random() % 20000;  // over up to four shards
    const auto position = static_cast<std::int64_t>(random() % (190001 - count));
    const auto tokens = read(dataset, position, count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t place = static_cast<std::size_t>(position) + i;
      ASSERT_EQ(tokens[i], place == 190000 ? kEndOfDocument : static_cast<unsigned char>(text[place]));
    }
    ASSERT_LE(num_open_files(), before + 3);
  }
  EXPECT_EQ(read(dataset, 190001, 0).size(), 0u);
}

TEST(TokenDataset, BlocksAreCheckedWhenFirstTouched) {
  const TempDir dir;
  const std::string folder = prepare_bytes(dir, "out", made_up_prose(2000000, 2), 1 << 20);
  const std::string shard = folder + "/train_00000.h5";
  const std::int64_t offset = Hdf5Reader(shard).array(kTokensArray).offset;
  flip_bit(shard, offset + kChecksumBlockBytes + 1000);  // a token in the second block
  const auto refusal = AllOf(HasSubstr("train_00000.h5"), HasSubstr("corrupt"), HasSubstr("block 1"));
  TokenDataset dataset(folder, kTrainSplit);
  constexpr std::int64_t kBlockTokens = kChecksumBlockBytes / 2;
  read(dataset, 0, kBlockTokens);      // the first block
  read(dataset, (1 << 20) + 5, 1000);  // another shard
  EXPECT_THAT([&] { read(dataset, kBlockTokens - 1, 2); }, ThrowsUserError(refusal));
  EXPECT_THAT([&] { read(dataset, 2 * kBlockTokens - 10, 10); }, ThrowsUserError(refusal));
  EXPECT_THAT([&] { dataset.verify(); }, ThrowsUserError(refusal));
  flip_bit(shard, offset + kChecksumBlockBytes + 1000);
  dataset.verify();
}

TEST(TokenDataset, DamagedShardsAreRefusedByName) {
  const TempDir dir;
  const std::string text = made_up_prose(100000, 3);
  const std::string folder = prepare_bytes(dir, "out", text, 30000);
  const std::string other = prepare_bytes(dir, "other", made_up_prose(100000, 4), 30000);
  const std::string shard = folder + "/train_00001.h5";
  const auto put = [&](const std::string& contents) { write_durably(shard, contents, IfExists::kReplace); };
  const auto refuse = [&](const std::string& what) {
    EXPECT_THAT(
        [&] {
          TokenDataset dataset(folder, kTrainSplit);
          read(dataset, 30000, 100);
        },
        ThrowsUserError(AllOf(HasSubstr("train_00001.h5"), HasSubstr(what))));
  };
  const std::string good = read_whole_file(shard);
  put(good.substr(0, good.size() / 2));
  refuse("where the manifest names");
  put("");
  refuse("has 0 bytes where the manifest names");
  put(std::string(good.size(), 'x'));
  refuse("is not a readable HDF5 file");
  put(read_whole_file(other + "/train_00001.h5"));
  refuse("is of another data set");
  put(read_whole_file(folder + "/train_00000.h5"));
  refuse("is of another data set");
  std::filesystem::remove(shard);
  refuse("No such file");
  put(good);
  TokenDataset(folder, kTrainSplit).verify();
}

TEST(TokenDataset, AShardCutShortWhileItIsReadIsAnErrorAndNoCrash) {
  const TempDir dir;
  const std::string folder = prepare_bytes(dir, "out", made_up_prose(100000, 5), 1 << 20);
  TokenDataset dataset(folder, kTrainSplit);
  read(dataset, 0, 10);
  std::filesystem::resize_file(folder + "/train_00000.h5", 5000);
  EXPECT_THAT([&] { read(dataset, 90000, 100); },
              ThrowsUserError(AllOf(HasSubstr("train_00000.h5"), HasSubstr("cut short"))));
}

// A shard in place of the first one, with these facts; the manifest is changed to fit.
void replace_shard(const std::string& folder, const std::string& format, const std::string& tokenizer,
                   const std::vector<std::uint16_t>& tokens) {
  const std::string path = folder + "/train_00000.h5";
  {
    Hdf5Writer writer(path);
    writer.set_attribute("format", format);
    writer.set_attribute("tokenizer", tokenizer);
    writer.write<std::uint16_t>(kTokensArray, tokens);
    writer.write<std::uint64_t>(kDocumentOffsetsArray, std::vector<std::uint64_t>{0});
    writer.commit(IfExists::kReplace);
  }
  Json json = parse_json(read_whole_file(folder + "/manifest.json"), "manifest");
  Json& split = json["splits"]["train"];
  split["num_tokens"] = tokens.size();
  split["shards"][0]["num_tokens"] = tokens.size();
  split["shards"][0]["size_bytes"] = std::filesystem::file_size(path);
  split["shards"][0]["checksum"] = shard_checksum(Hdf5Reader(path));
  write_durably(folder + "/manifest.json", json.dump(), IfExists::kReplace);
}

TEST(TokenDataset, ShardsOfOthersAreRefused) {
  const TempDir dir;
  const std::string folder = prepare_bytes(dir, "out", "some text", 1000);
  const std::string tokenizer = ByteTokenizer().identity();
  const auto refuse = [&](const std::string& what) {
    EXPECT_THAT(
        [&] {
          TokenDataset dataset(folder, kTrainSplit);
          read(dataset, 0, 3);
        },
        ThrowsUserError(AllOf(HasSubstr("train_00000.h5"), HasSubstr(what))));
  };
  replace_shard(folder, "weather", tokenizer, {1, 2, 3});
  refuse("is no shard of tokens");
  replace_shard(folder, kShardFormat, "0123456789abcdef", {1, 2, 3});
  refuse("was made with another tokenizer");
  replace_shard(folder, kShardFormat, tokenizer, {1, 257, 3});
  refuse("has token 257 in a vocabulary of 257");
  replace_shard(folder, kShardFormat, tokenizer, {1, 256, 3});
  TokenDataset dataset(folder, kTrainSplit);
  EXPECT_EQ(read(dataset, 0, 3), (std::vector<std::int32_t>{1, 256, 3}));
}

TEST(TokenDataset, ForeignFoldersAndFilesAreRefused) {
  const TempDir dir;
  EXPECT_THAT([&] { TokenDataset(dir / "none", kTrainSplit); },
              ThrowsUserError(AllOf(HasSubstr("/none: "), HasSubstr("trireme prepare"))));
  const std::string folder = prepare_bytes(dir, "out", "some text", 1000);
  EXPECT_THAT([&] { TokenDataset(folder, "test"); }, ThrowsUserError(HasSubstr("has no split 'test'")));

  const std::string manifest = read_whole_file(folder + "/manifest.json");
  const auto refuse_manifest = [&](const std::string& from, const std::string& to, const std::string& what) {
    std::string changed = manifest;
    changed.replace(changed.find(from), from.size(), to);
    write_durably(folder + "/manifest.json", changed, IfExists::kReplace);
    EXPECT_THAT([&] { TokenDataset(folder, kTrainSplit); },
                ThrowsUserError(AllOf(HasSubstr("manifest.json"), HasSubstr(what))));
  };
  refuse_manifest("{", "", "not valid JSON");
  refuse_manifest("trireme-dataset-1", "other", "format 'other'");
  refuse_manifest("\"num_tokens\": 10", "\"num_tokens\": 11", "its shards have 10");
  refuse_manifest("\"dataset_id\"", "\"name\"", "no key 'dataset_id'");
  refuse_manifest("\"vocab_size\": 257", "\"vocab_size\": \"257\"",
                  "'vocab_size' has a value of the wrong type");
  write_durably(folder + "/manifest.json", manifest, IfExists::kReplace);

  std::filesystem::remove(folder + "/tokenizer.json");
  EXPECT_THAT([&] { TokenDataset(folder, kTrainSplit); },
              ThrowsUserError(AllOf(HasSubstr("tokenizer.json"), HasSubstr("No such file"))));
  write_durably(folder + "/tokenizer.json",
                R"({"format": "trireme-tokenizer-1", "kind": "bpe", "merges": [[97, 98]]})");
  EXPECT_THAT([&] { TokenDataset(folder, kTrainSplit); },
              ThrowsUserError(AllOf(HasSubstr("tokenizer.json"), HasSubstr("another tokenizer"))));
}

}  // namespace
}  // namespace trireme
