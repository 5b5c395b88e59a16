#include "data/document_starts.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/json.h"
#include "data/loader.h"
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

// Documents of 0 to 40 bytes, in shards that end inside them.
std::string prepare_documents(const TempDir& dir, std::size_t count, std::int64_t shard_tokens) {
  std::mt19937 random(7);
  const std::string prose = made_up_prose(4000, 1);
  std::string lines;
  for (std::size_t i = 0; i < count; ++i) {
    std::string document = prose.substr(random() % 3000, random() % 41);
    for (char& c : document) c = static_cast<unsigned char>(c) < ' ' || c == '"' || c == '\\' ? ' ' : c;
    lines += "{\"text\": \"" + document + "\"}\n";
  }
  write_durably(dir / "documents.jsonl", lines);
  PrepareOptions options;
  options.inputs = {dir / "documents.jsonl"};
  options.output = dir / "out";
  options.tokenizer = "byte";
  options.shard_tokens = shard_tokens;
  prepare_quietly(options);
  return options.output;
}

std::vector<std::int32_t> all_tokens(TokenDataset& dataset) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  dataset.read(0, tokens);
  return tokens;
}

// The text has no ends of documents but its own, so that they tell where documents begin.
std::vector<std::int64_t> plain_starts(const std::vector<std::int32_t>& tokens, std::int64_t begin,
                                       std::int64_t end) {
  std::vector<std::int64_t> starts;
  for (std::int64_t i = begin; i < end; ++i) {
    if (i == 0 || tokens[static_cast<std::size_t>(i - 1)] == kEndOfDocument) starts.push_back(i);
  }
  return starts;
}

TEST(DocumentStarts, AreFoundAnywhereAcrossShardsAndBlocks) {
  const TempDir dir;
  // Shards of some 19,000 documents, in three blocks of 8,192 offsets each.
  const std::string folder = prepare_documents(dir, 30000, 400000);
  TokenDataset dataset(folder, kTrainSplit, /*max_open_shards=*/1);
  ASSERT_EQ(dataset.facts().shards.size(), 2u);
  ASSERT_GT(dataset.facts().shards[0].num_documents, 2 * 8192);
  const std::vector<std::int32_t> tokens = all_tokens(dataset);
  const auto expect_starts = [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> starts = {-5};  // what is there stays
    dataset.document_starts(begin, end - begin, starts);
    std::vector<std::int64_t> expected = plain_starts(tokens, begin, end);
    expected.insert(expected.begin(), -5);
    ASSERT_EQ(starts, expected) << begin << " to " << end;
  };
  std::mt19937 random(1);
  const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % n); };
  for (int round = 0; round < 300; ++round) {
    const std::int64_t begin = below(dataset.num_tokens());
    expect_starts(begin, std::min(begin + below(2000), dataset.num_tokens()));
  }
  expect_starts(0, dataset.num_tokens());
  expect_starts(399990, 400010);
  expect_starts(dataset.num_tokens(), dataset.num_tokens());
}

// What the batch should say of each of its tokens: a document is headed by the end of the one before it.
void expect_documents(const std::vector<std::int32_t>& tokens, const std::vector<std::int64_t>& windows,
                      const Batch& batch) {
  const std::int64_t length = batch.tokens_per_sequence;
  ASSERT_EQ(batch.documents.size(), batch.inputs.size());
  ASSERT_EQ(batch.positions.size(), batch.inputs.size());
  for (std::int64_t row = 0; row < batch.sequences; ++row) {
    std::int32_t document = 0, place = 0;
    for (std::int64_t t = 0; t < length; ++t) {
      const auto i = static_cast<std::size_t>(row * length + t);
      const std::int32_t token =
          tokens[static_cast<std::size_t>(windows[static_cast<std::size_t>(row)] * length + t)];
      ASSERT_EQ(batch.inputs[i], token);
      if (token == kEndOfDocument && t > 0) {
        ++document;
        place = 0;
      }
      EXPECT_EQ(batch.documents[i], document) << "row " << row << ", token " << t;
      EXPECT_EQ(batch.positions[i], place++) << "row " << row << ", token " << t;
    }
  }
}

TEST(DocumentStarts, BatchesSayWhereTokensStand) {
  const TempDir dir;
  const std::string folder = prepare_documents(dir, 500, 1777);
  for (const std::int64_t context : {1, 2, 33, 400}) {
    TokenDataset dataset(folder, kTrainSplit);
    const std::vector<std::int32_t> tokens = all_tokens(dataset);
    const std::int64_t num_windows = Sampler::windows_in(dataset.num_tokens(), context);
    std::vector<std::int64_t> windows;
    for (std::int64_t window = 0; window < num_windows; ++window) windows.push_back(window);
    Batch batch;
    read_windows(dataset, 0, num_windows, context, Documents::kSeparate, batch);
    expect_documents(tokens, windows, batch);
    Batch joined;
    read_windows(dataset, 0, num_windows, context, Documents::kJoined, joined);
    EXPECT_EQ(joined.inputs, batch.inputs);
    EXPECT_EQ(joined.targets, batch.targets);
    EXPECT_TRUE(joined.documents.empty() && joined.positions.empty());
  }
}

TEST(DocumentStarts, LoadersOfAnyRanksSayTheSame) {
  const TempDir dir;
  const std::string folder = prepare_documents(dir, 500, 1777);
  constexpr std::int64_t kContext = 45;
  TokenDataset whole(folder, kTrainSplit);
  const std::vector<std::int32_t> tokens = all_tokens(whole);
  const Sampler sampler(whole.num_tokens(), kContext, 3);
  for (int num_ranks = 1; num_ranks <= 3; ++num_ranks) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      TokenDataset dataset(folder, kTrainSplit);
      Loader loader(dataset,
                    {.tokens_per_sequence = kContext,
                     .batch_sequences = 7,
                     .microbatch_sequences = 2,
                     .seed = 3,
                     .rank = rank,
                     .num_ranks = num_ranks,
                     .documents = Documents::kSeparate},
                    0, /*prefetch=*/2);
      for (int i = 0; i < 20; ++i) {
        const Batch& batch = loader.next();
        std::vector<std::int64_t> windows;
        for (std::int64_t row = 0; row < batch.sequences; ++row)
          windows.push_back(sampler.window(batch.first_sample + row));
        expect_documents(tokens, windows, batch);
      }
    }
  }
}

class DamagedStarts : public testing::Test {
 protected:
  void expect_refusal(const std::string& what) const {
    const auto refusal = ThrowsUserError(AllOf(HasSubstr("train_00000.h5"), HasSubstr(what)));
    EXPECT_THAT(
        [&] {
          TokenDataset dataset(folder_, kTrainSplit);
          std::vector<std::int64_t> starts;
          dataset.document_starts(0, 4, starts);
        },
        refusal);
    EXPECT_THAT([&] { TokenDataset(folder_, kTrainSplit).verify(); }, refusal);
  }

  // A first shard of 6 tokens that says so of its documents, of which the manifest names two.
  template <typename Offset>
  void replace_shard(const std::vector<Offset>& offsets) const {
    const std::string path = folder_ + "/train_00000.h5";
    {
      Hdf5Writer writer(path);
      writer.set_attribute("format", std::string(kShardFormat));
      writer.set_attribute("tokenizer", ByteTokenizer().identity());
      writer.write<std::uint16_t>(kTokensArray, std::vector<std::uint16_t>{1, 2, 256, 3, 4, 256});
      writer.write<Offset>(kDocumentOffsetsArray, offsets);
      writer.commit(IfExists::kReplace);
    }
    Json json = parse_json(read_whole_file(folder_ + "/manifest.json"), "manifest");
    Json& split = json["splits"]["train"];
    for (Json* facts : {&split, &split["shards"][0]}) {
      (*facts)["num_tokens"] = 6;
      (*facts)["num_documents"] = 2;
    }
    split["shards"][0]["size_bytes"] = std::filesystem::file_size(path);
    split["shards"][0]["checksum"] = shard_checksum(Hdf5Reader(path));
    write_durably(folder_ + "/manifest.json", json.dump(), IfExists::kReplace);
  }

  const TempDir dir_;
  const std::string folder_ = prepare_documents(dir_, 40, 100000);
};

TEST_F(DamagedStarts, ChangedBitsAreFound) {
  const std::string shard = folder_ + "/train_00000.h5";
  flip_bit(shard, Hdf5Reader(shard).array(kDocumentOffsetsArray).offset + 8 * 5);
  expect_refusal("corrupt");
  // Whoever reads no documents isn't troubled.
  TokenDataset dataset(folder_, kTrainSplit);
  EXPECT_EQ(all_tokens(dataset).size(), static_cast<std::size_t>(dataset.num_tokens()));
}

TEST_F(DamagedStarts, WhatCannotBeIsRefused) {
  replace_shard<std::uint64_t>({3, 0});
  expect_refusal("has document offsets that don't ascend");
  replace_shard<std::uint64_t>({3, 3});
  expect_refusal("has document offsets that don't ascend");
  replace_shard<std::uint64_t>({0, 6});
  expect_refusal("has a document that begins at token 6 of 6");
  replace_shard<std::uint64_t>({0});
  expect_refusal("has the offsets of 1 documents where the manifest names 2");
  replace_shard<std::uint32_t>({0, 3});
  expect_refusal("has document offsets of type uint32");
  replace_shard<std::uint64_t>({0, 3});
  TokenDataset dataset(folder_, kTrainSplit);
  dataset.verify();
  std::vector<std::int64_t> starts;
  dataset.document_starts(1, 5, starts);
  EXPECT_EQ(starts, std::vector<std::int64_t>{3});
}

}  // namespace
}  // namespace trireme
