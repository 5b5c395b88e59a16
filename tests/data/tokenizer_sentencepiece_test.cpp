#include <algorithm>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/durable_file.h"
#include "data/prepare_pairs.h"
#include "data/tokenizer/base64.h"
#include "data/tokenizer/sentencepiece.h"
#include "tests/data/prepared.h"
#include "tests/data/tokenizer_cases.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A little of every script, so that the models have more than ASCII; a third is left to byte tokens.
std::string training_text() {
  std::mt19937_64 random(1);
  std::string text = made_up_prose(100000, 1);
  for (int i = 0; i < 300; ++i) text += odd_text(random, 20, true);
  return text;
}

std::unique_ptr<SentencePieceTokenizer> trained(SentencePieceType type) {
  return train_sentencepiece({training_text()}, type, 1000);
}

std::unique_ptr<Tokenizer> imported(const std::string& name) {
  return import_tokenizer(golden(name + ".model"), "");
}

class TrainedSentencePiece : public testing::TestWithParam<SentencePieceType> {};

TEST_P(TrainedSentencePiece, LosesNothingOfAnyBytes) {
  const auto tokenizer = trained(GetParam());
  EXPECT_EQ(tokenizer->losses(), "");
  EXPECT_GT(tokenizer->vocab_size(), 900);
  EXPECT_LE(tokenizer->vocab_size(), 1000);
  std::mt19937_64 random(2);
  for (int round = 0; round < 400; ++round) {
    std::string text = odd_text(random, random() % 100, true);
    if (round % 3 == 0)
      for (char& c : text) c = static_cast<char>(random());
    const auto tokens = tokens_of_text(*tokenizer, text);
    ASSERT_EQ(tokenizer->decode(tokens), text);
    for (const std::int32_t token : tokens) ASSERT_NE(token, tokenizer->end_of_document());
  }
  const std::string signs = "\u2581 \u2581a\u2581 </s> <unk> <0x41> \u2047 " + std::string("\0", 1);
  EXPECT_EQ(tokenizer->decode(tokens_of_text(*tokenizer, signs)), signs);
}

TEST_P(TrainedSentencePiece, FindsTheWordsOfTheText) {
  const auto tokenizer = trained(GetParam());
  const std::string text = made_up_prose(100000, 1);
  const auto tokens = tokens_of_text(*tokenizer, text);
  EXPECT_LT(tokens.size(), text.size() / 2);
  EXPECT_TRUE(std::none_of(tokens.begin(), tokens.end(), [](std::int32_t token) { return token == 0; }));
}

TEST_P(TrainedSentencePiece, IsTheSameEachTime) {
  EXPECT_EQ(trained(GetParam())->identity(), trained(GetParam())->identity());
}

TEST_P(TrainedSentencePiece, PartsCutAtSafePlacesGiveTheSameTokens) {
  EXPECT_GT(expect_safe_cuts(*trained(GetParam()), 3), 300);
}

TEST_P(TrainedSentencePiece, TravelsWithTheData) {
  const TempDir dir;
  expect_round_trip(*trained(GetParam()), dir / "tokenizer.json");
}

INSTANTIATE_TEST_SUITE_P(Types, TrainedSentencePiece,
                         testing::Values(SentencePieceType::kUnigram, SentencePieceType::kBpe),
                         [](const auto& type) {
                           return type.param == SentencePieceType::kBpe ? "Bpe" : "Unigram";
                         });

TEST(SentencePieceTokenizer, GivesTheTokensOfTheirPackage) {
  for (const std::string name : {"unigram", "llama2", "joined"}) {
    const auto tokenizer = imported(name);
    expect_golden_tokens(*tokenizer, name);
    EXPECT_NE(tokenizer->losses(), "") << name;
    const TempDir dir;
    expect_round_trip(*tokenizer, dir / "tokenizer.json");
  }
}

TEST(SentencePieceTokenizer, ImportedOnesAreCutOnlyWhereItIsSafe) {
  EXPECT_GT(expect_safe_cuts(*imported("unigram"), 4), 300);
  EXPECT_EQ(expect_safe_cuts(*imported("llama2"), 5), 0);  // would put a space before each part
  EXPECT_EQ(expect_safe_cuts(*imported("joined"), 6), 0);  // has pieces of several words
}

TEST(SentencePieceTokenizer, SaysWhatItLoses) {
  const auto unigram = imported("unigram");
  EXPECT_EQ(unigram->decode(tokens_of_text(*unigram, " the \n\ufb01sh  \u2622")), " the fish  \u2047 ");
  EXPECT_THAT(unigram->losses(), AllOf(HasSubstr("rules"), HasSubstr("in a row"), HasSubstr("unknown")));
  const auto llama2 = imported("llama2");
  EXPECT_EQ(llama2->decode(tokens_of_text(*llama2, "the  \ufb01sh \u2622 ")), " the  \ufb01sh \u2622 ");
  EXPECT_THAT(llama2->losses(),
              AllOf(Not(HasSubstr("rules")), Not(HasSubstr("unknown")), HasSubstr("before the text")));
}

TEST(SentencePieceTokenizer, TakesTheEndOfADocumentThatIsNamed) {
  const auto usual = imported("unigram");
  EXPECT_EQ(usual->bytes_of(usual->end_of_document()), "");
  const auto named = import_tokenizer(golden("unigram.model"), "<s>");
  EXPECT_NE(named->end_of_document(), usual->end_of_document());
  EXPECT_NE(named->identity(), usual->identity());
  EXPECT_THAT([] { import_tokenizer(golden("unigram.model"), "<end>"); },
              ThrowsUserError(AllOf(HasSubstr("--end-of-document: '<end>'"), HasSubstr("unigram.model"))));
}

TEST(SentencePieceTokenizer, FindsTheMask) {
  EXPECT_EQ(imported("unigram")->mask_token(), std::nullopt);
  const TempDir dir;
  // A model file that goes on with another piece, a control symbol.
  write_durably(dir / "masking.model",
                read_whole_file(golden("unigram.model")) + "\x0a\x0a\x0a\x06<mask>\x18\x03",
                IfExists::kRefuse);
  const auto tokenizer = import_tokenizer(dir / "masking.model", "");
  EXPECT_EQ(tokenizer->mask_token(), tokenizer->vocab_size() - 1);
}

TEST(SentencePieceTokenizer, RefusesWhatIsNoModel) {
  const TempDir dir;
  const std::string whole = read_whole_file(golden("unigram.model"));
  for (std::size_t size = 0; size < whole.size(); size += size < 20 || size + 20 > whole.size() ? 1 : 97) {
    write_durably(dir / "t.model", whole.substr(0, size), IfExists::kReplace);
    EXPECT_THAT([&] { import_tokenizer(dir / "t.model", ""); },
                ThrowsUserError(AllOf(HasSubstr("t.model: "), HasSubstr("good copy"))))
        << size;
  }
  std::mt19937_64 random(7);
  std::string noise(5000, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  write_durably(dir / "n.model", noise);
  EXPECT_THAT([&] { import_tokenizer(dir / "n.model", ""); }, ThrowsUserError(HasSubstr("n.model: is no")));

  const auto refuse = [&](const char* key, const Json& value, const std::string& what) {
    Json ours = parse_json(imported("unigram")->to_json(), "ours");
    ours[key] = value;
    write_durably(dir / "t.json", ours.dump(), IfExists::kReplace);
    EXPECT_THAT([&] { load_tokenizer(dir / "t.json"); },
                ThrowsUserError(AllOf(HasSubstr("t.json"), HasSubstr(what))));
  };
  refuse("model", "abc", "'model' is no Base64");
  refuse("model", "ab!c", "'model' is no Base64");
  refuse("model", to_base64(whole.substr(0, 1000)), "no whole SentencePiece model");
  refuse("end_of_document", 5000, "'end_of_document' is no token");
  refuse("end_of_document", -1, "'end_of_document' is no token");
}

TEST(PrepareWithSentencePiece, TrainsOneTokenizerOnAllInputs) {
  const TempDir dir;
  // The same letters in two scripts: no subword of one is of use for the other.
  const std::string latin = made_up_prose(50000, 9);
  std::string georgian;
  for (const char c : latin)
    georgian += c >= 'a' && c <= 'z' ? std::string("\xE1\x83") + static_cast<char>(0x90 + (c - 'a'))
                                     : std::string(1, c);
  write_durably(dir / "latin.txt", latin);
  write_durably(dir / "georgian.txt", georgian);
  PrepareOptions options;
  options.inputs = {dir / "latin.txt", dir / "georgian.txt"};
  options.vocab_size = 1000;
  for (const char* kind : {"sentencepiece", "sentencepiece-bpe"}) {
    options.output = dir / kind;
    options.tokenizer = kind;
    const PrepareSummary summary = prepare_quietly(options);
    EXPECT_EQ(summary.manifest.tokenizer_kind, "sentencepiece");
    EXPECT_EQ(summary.training_bytes, static_cast<std::int64_t>(latin.size() + georgian.size()));
    const auto tokenizer = load_tokenizer(dir / kind + "/tokenizer.json");
    EXPECT_LT(tokens_of_text(*tokenizer, latin).size(), latin.size() / 2) << kind;
    EXPECT_LT(tokens_of_text(*tokenizer, georgian).size(), latin.size() / 2) << kind;
  }
  options.output = dir / "small";
  options.vocab_size = 265;
  EXPECT_THAT([&] { prepare_quietly(options); },
              ThrowsUserError(
                  AllOf(HasSubstr("--vocab-size: SentencePiece can't train 265"), HasSubstr("choose more"))));
  options.tokenizer = "sentencepiece";
  options.end_of_document = "</s>";
  EXPECT_THAT([&] { prepare_quietly(options); }, ThrowsUserError(HasSubstr("--end-of-document: is for")));
}

TEST(PrepareWithSentencePiece, PairsShareItsSubwords) {
  const TempDir dir;
  std::string rows;
  std::istringstream lines(made_up_prose(30000, 10));
  for (std::string source, target; lines >> source >> target;) rows += source + "\t" + target + "X\n";
  write_durably(dir / "pairs.tsv", rows);
  PairPrepareOptions options;
  options.inputs.inputs = {dir / "pairs.tsv"};
  options.common.output = dir / "out";
  options.common.tokenizer = "sentencepiece";
  options.common.vocab_size = 600;
  const PairPrepareSummary summary = prepare_pairs(options, [](const PrepareProgress&) {});
  EXPECT_GT(summary.training_bytes, 20000);
  const auto tokenizer = load_tokenizer(dir / "out/tokenizer.json");
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  EXPECT_EQ(tokenizer->bytes_of(tokens_of_text(*tokenizer, "aX").back()),
            "X");  // of targets only, but no bytes
  EXPECT_GT(tokens_of_text(*tokenizer, "X").back(), 258);
}

TEST(Base64, BringsBytesBack) {
  EXPECT_EQ(to_base64(""), "");
  EXPECT_EQ(to_base64("f"), "Zg==");
  EXPECT_EQ(to_base64("fo"), "Zm8=");
  EXPECT_EQ(to_base64("foobar"), "Zm9vYmFy");
  std::mt19937_64 random(8);
  for (std::size_t size = 0; size < 100; ++size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    EXPECT_EQ(from_base64(to_base64(bytes)), bytes);
  }
  EXPECT_EQ(from_base64("Zg="), std::nullopt);
  EXPECT_EQ(from_base64("Z==="), std::nullopt);
}

}  // namespace
}  // namespace trireme
