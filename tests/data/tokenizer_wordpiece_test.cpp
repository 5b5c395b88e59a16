#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/durable_file.h"
#include "data/tokenizer/wordpiece.h"
#include "tests/data/tokenizer_cases.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<std::string> kNames = {"bert", "bert_cased"};

std::unique_ptr<Tokenizer> imported(const std::string& name) {
  return import_tokenizer(golden(name + ".json"), "");
}

TEST(WordPieceTokenizer, GivesTheTokensOfThePackage) {
  for (const std::string& name : kNames) expect_golden_tokens(*imported(name), name);
}

TEST(WordPieceTokenizer, TravelsWithTheData) {
  for (const std::string& name : kNames) {
    const TempDir dir;
    const auto tokenizer = imported(name);
    EXPECT_EQ(tokenizer->kind(), "wordpiece");
    EXPECT_EQ(tokenizer->original_file()->contents, read_whole_file(golden(name + ".json")));
    expect_round_trip(*tokenizer, dir / "tokenizer.json");
  }
}

TEST(WordPieceTokenizer, PartsCutAtSafePlacesGiveTheSameTokens) {
  for (const std::string& name : kNames) EXPECT_GT(expect_safe_cuts(*imported(name), 2), 100) << name;
}

TEST(WordPieceTokenizer, DecodesToWords) {
  const auto tokenizer = imported("bert");
  EXPECT_EQ(tokenizer->decode(tokens_of_text(*tokenizer, "The\trower's SHIP")), " the rower ' s ship");
  EXPECT_THAT(tokenizer->losses(), HasSubstr("capital letters, accents"));
  EXPECT_THAT(imported("bert_cased")->losses(), testing::Not(HasSubstr("capital")));
  EXPECT_EQ(tokenizer->original_file()->end_of_document, "[SEP]");
}

TEST(WordPieceTokenizer, FramesATextAsBertDoes) {
  const auto tokenizer = import_tokenizer(golden("bert.json"), "[PAD]");
  const auto file = WordPieceFile::parse(read_whole_file(golden("bert.json")), "golden");
  EXPECT_EQ(tokenizer->frame().begin, file.number_of.at("[CLS]"));
  EXPECT_EQ(tokenizer->frame().end, file.number_of.at("[SEP]"));
}

TEST(WordPieceTokenizer, ReadsVocabTxt) {
  const TempDir dir;
  const auto file = WordPieceFile::parse(read_whole_file(golden("bert.json")), "golden");
  std::string vocab;
  for (const std::string& token : file.tokens) vocab += token + "\n";
  write_durably(dir / "vocab.txt", vocab);
  expect_golden_tokens(*import_tokenizer(dir / "vocab.txt", ""), "bert");
  write_durably(dir / "tokenizer_config.json", R"({"do_lower_case": false})");
  const auto cased = import_tokenizer(dir / "vocab.txt", "[CLS]");
  EXPECT_EQ(tokens_of_text(*cased, "THE"), std::vector<std::int32_t>{1});  // [UNK]: its words are lower case
  EXPECT_EQ(cased->end_of_document(), 2);
}

TEST(WordPieceTokenizer, NamesWhatIsNotSupportedOrBroken) {
  const TempDir dir;
  const auto refuse = [&](const std::function<void(LargeJson&)>& change, const std::string& what) {
    LargeJson json = parse_json<LargeJson>(read_whole_file(golden("bert.json")), "golden");
    change(json);
    write_durably(dir / "t.json", json.dump(), IfExists::kReplace);
    EXPECT_THAT([&] { import_tokenizer(dir / "t.json", ""); },
                ThrowsUserError(AllOf(HasSubstr(dir / "t.json" + ": "), HasSubstr(what))));
  };
  refuse(
      [](auto& j) {
        j["normalizer"] = {{"type", "NFKC"}};
      },
      "'normalizer.type' is \"NFKC\", which is not supported");
  refuse(
      [](auto& j) {
        j["pre_tokenizer"] = {{"type", "Whitespace"}};
      },
      "'pre_tokenizer.type' is \"Whitespace\"");
  refuse([](auto& j) { j["model"]["unk_token"] = "<unk>"; }, "'model.unk_token' is the token '<unk>'");
  refuse([](auto& j) { j["model"]["vocab"]["x"] = -1; }, "'model.vocab.x'");
  refuse([](auto& j) { j["model"]["vocab"]["xyz"] = 7; }, "'model.vocab' gives the number 7 to both");
  refuse([](auto& j) { j["model"].erase("vocab"); }, "'model.vocab'");
  refuse([](auto& j) { j["added_tokens"][3]["content"] = "[END]"; }, "gives the number 3 to both");
  EXPECT_THAT([] { import_tokenizer(golden("bert.json"), "</s>"); },
              ThrowsUserError(HasSubstr("--end-of-document: '</s>' is no token of")));
}

}  // namespace
}  // namespace trireme
