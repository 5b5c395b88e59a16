#include <chrono>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/durable_file.h"
#include "data/token_dataset.h"
#include "data/tokenizer/huggingface.h"
#include "data/tokenizer/nfc.h"
#include "tests/data/prepared.h"
#include "tests/data/tokenizer_cases.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kNames = {"gpt2", "llama3", "qwen2", "digits"};

std::unique_ptr<Tokenizer> imported(const std::string& name) {
  return import_tokenizer(golden(name + ".json"), "");
}

TEST(HuggingFaceTokenizer, GivesTheTokensOfThePackage) {
  for (const std::string& name : kNames) expect_golden_tokens(*imported(name), name);
}

TEST(HuggingFaceTokenizer, TravelsWithTheData) {
  for (const std::string& name : kNames) {
    const TempDir dir;
    const auto tokenizer = imported(name);
    EXPECT_EQ(tokenizer->kind(), "huggingface");
    expect_round_trip(*tokenizer, dir / "tokenizer.json");
    EXPECT_EQ(import_tokenizer(dir / "tokenizer.json", "")->identity(), tokenizer->identity());
  }
  EXPECT_NE(imported("gpt2")->identity(), imported("llama3")->identity());
}

TEST(HuggingFaceTokenizer, LosesNothingOfAnyBytesWithoutNfc) {
  for (const std::string name : {"gpt2", "llama3", "digits"}) {
    const auto tokenizer = imported(name);
    std::mt19937_64 random(1);
    for (int round = 0; round < 300; ++round) {
      std::string text = odd_text(random, random() % 100, true);
      if (round % 3 == 0)
        for (char& c : text) c = static_cast<char>(random());
      const auto tokens = tokens_of_text(*tokenizer, text);
      ASSERT_EQ(tokenizer->decode(tokens), text) << name;
      for (const std::int32_t token : tokens) ASSERT_NE(token, tokenizer->end_of_document());
    }
  }
}

TEST(HuggingFaceTokenizer, SaysWhatItLoses) {
  EXPECT_EQ(imported("llama3")->losses(), "");
  EXPECT_THAT(imported("gpt2")->losses(), HasSubstr("white space"));
  const auto qwen2 = imported("qwen2");
  EXPECT_THAT(qwen2->losses(), HasSubstr("NFC"));
  EXPECT_EQ(qwen2->decode(tokens_of_text(*qwen2, "cafe\u0301 \u212B")), "caf\u00e9 \u00c5");
}

TEST(HuggingFaceTokenizer, FindsTheEndOfADocument) {
  const auto text_of_end = [](const std::string& name, const std::string& end) {
    const auto tokenizer = import_tokenizer(golden(name + ".json"), end);
    EXPECT_EQ(tokenizer->bytes_of(tokenizer->end_of_document()), "");
    const auto file = HuggingFaceFile::parse(read_whole_file(golden(name + ".json")), name);
    return file.bytes[tokenizer->end_of_document()];
  };
  EXPECT_EQ(text_of_end("gpt2", ""), "<|endoftext|>");
  EXPECT_EQ(text_of_end("llama3", ""), "<|end_of_text|>");
  EXPECT_EQ(text_of_end("qwen2", "<|im_end|>"), "<|im_end|>");
  EXPECT_THAT([&] { text_of_end("qwen2", "<end>"); },
              ThrowsUserError(AllOf(HasSubstr("--end-of-document: '<end>'"), HasSubstr("qwen2.json"))));
  const auto gpt2 = imported("gpt2");
  EXPECT_THAT(tokens_of_text(*gpt2, "<|endoftext|>"), ElementsAre(gpt2->end_of_document()));
}

TEST(HuggingFaceTokenizer, FindsTheMask) {
  EXPECT_EQ(imported("gpt2")->mask_token(), std::nullopt);
  const TempDir dir;
  auto json = LargeJson::parse(read_whole_file(golden("gpt2.json")));
  auto mask = json["added_tokens"][0];
  mask["content"] = "[MASK]";
  mask["id"] = imported("gpt2")->vocab_size();
  json["added_tokens"].push_back(mask);
  write_durably(dir / "tokenizer.json", json.dump(), IfExists::kRefuse);
  const auto tokenizer = import_tokenizer(dir / "tokenizer.json", "");
  EXPECT_EQ(tokenizer->mask_token(), tokenizer->vocab_size() - 1);
  EXPECT_THAT(tokens_of_text(*tokenizer, "[MASK]"), ElementsAre(*tokenizer->mask_token()));
}

TEST(HuggingFaceTokenizer, PartsCutAtSafePlacesGiveTheSameTokens) {
  for (const std::string& name : kNames) EXPECT_GT(expect_safe_cuts(*imported(name), 2), 100) << name;
}

TEST(HuggingFaceTokenizer, AnEndlessWordIsNoEndlessWork) {
  const auto tokenizer = imported("gpt2");
  std::string text;
  while (text.size() < 1 << 19) text += "трирема";
  const auto begin = std::chrono::steady_clock::now();
  const auto tokens = tokens_of_text(*tokenizer, text);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // in square time: minutes
  EXPECT_EQ(tokenizer->decode(tokens), text);
}

TEST(MergeTable, LongWordsAreMergedAsShortOnesAre) {
  std::mt19937_64 random(3);
  MergeTable table(40);
  std::vector<std::pair<TokenPair, std::int32_t>> merges;
  for (std::int32_t i = 0; i < 40; ++i) {
    const auto symbol = [&] {
      return static_cast<std::int32_t>(random() % (4 + static_cast<std::uint64_t>(i)));
    };
    const TokenPair pair = {symbol(), symbol()};
    table.set(pair, i, 4 + i);
    std::erase_if(merges, [&](const auto& merge) { return merge.first == pair; });
    merges.emplace_back(pair, 4 + i);
  }
  for (int round = 0; round < 200; ++round) {
    std::vector<std::int32_t> symbols(1 + random() % 150);
    for (auto& symbol : symbols) symbol = static_cast<std::int32_t>(random() % 4);
    std::vector<std::int32_t> expected = symbols;
    for (bool merged = true; merged;) {  // the definition: the first merge that applies, leftmost
      merged = false;
      for (std::size_t m = 0; m < merges.size() && !merged; ++m) {
        for (std::size_t i = 0; i + 1 < expected.size() && !merged; ++i) {
          if (TokenPair{expected[i], expected[i + 1]} != merges[m].first) continue;
          expected[i] = merges[m].second;
          expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(i) + 1);
          merged = true;
        }
      }
    }
    std::vector<std::int32_t> tokens;
    table.merge(symbols, tokens);
    ASSERT_EQ(tokens, expected);
  }
}

TEST(SplitPattern, AsciiByHandIsAsTheExpressionSays) {
  const std::string rest = R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string llama = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  const std::vector<std::string> expressions = {kGpt2Pattern, llama + R"(\p{N}{1,3}|)" + rest,
                                                llama + R"(\p{N}|)" + rest};
  std::mt19937_64 random(4);
  for (const std::string& expression : expressions) {
    const SplitPattern known(expression, "test");
    const SplitPattern unknown("(?:" + expression + ")", "test");
    ASSERT_TRUE(known.always_ends_before_space());
    ASSERT_FALSE(unknown.always_ends_before_space());
    for (int round = 0; round < 2000; ++round) {
      const std::string text = odd_text(random, 20, false);
      for (std::size_t at = 0; at < text.size();) {
        const auto match = known.find(text, at);
        const auto expected = unknown.find(text, at);
        ASSERT_EQ(match.begin, expected.begin) << text;
        ASSERT_EQ(match.end, expected.end) << text << " from " << at;
        at = match.end;
      }
    }
  }
}

TEST(SplitPattern, RefusesWhatMayMeanSomethingElse) {
  const auto refuse = [](const std::string& expression, const std::string& what) {
    EXPECT_THAT([&] { SplitPattern(expression, "here"); },
                ThrowsUserError(AllOf(HasSubstr("here: the regular expression"), HasSubstr(what))));
  };
  refuse(R"(\w+)", "'\\w' at byte 0");
  refuse(R"(a\h)", "'\\h' at byte 1");
  refuse(R"(\p{Greek})", "'\\p{Greek}'");
  refuse(R"([a-z&&[^b]])", "intersection");
  refuse(R"([[:alpha:]])", "class within a class");
  refuse(R"(^a)", "'^'");
  refuse(R"(a{2}+)", "'}+'");
  refuse(R"((?<name>a))", "a group of this kind");
  refuse(R"(\s*)", "can match an empty text");
  refuse(R"((a)", "is wrong: missing closing parenthesis");
  refuse("a\\", "without a character");
}

TEST(Nfc, Composes) {
  EXPECT_EQ(to_nfc(""), "");
  EXPECT_EQ(to_nfc("plain"), "plain");
  EXPECT_EQ(to_nfc("e\u0301e\u0301 a"), "\u00e9\u00e9 a");
  EXPECT_EQ(to_nfc("a\u0323\u0307 \u1112\u1161\u11ab"), "\u1ea1\u0307 \ud55c");
  EXPECT_EQ(to_nfc("\u0301 \u212b\ufb01"), "\u0301 \u00c5\ufb01");
}

// The file of GPT-2's kind, changed.
class HuggingFaceRefusal : public testing::Test {
 protected:
  void refuse(const std::function<void(LargeJson&)>& change, const std::string& key,
              const std::string& what) {
    LargeJson json = parse_json<LargeJson>(read_whole_file(golden("llama3.json")), "golden");
    change(json);
    write_durably(dir_ / "t.json", json.dump(), IfExists::kReplace);
    EXPECT_THAT([&] { import_tokenizer(dir_ / "t.json", ""); },
                ThrowsUserError(AllOf(HasSubstr(dir_ / "t.json" + ": "), HasSubstr(key), HasSubstr(what))));
  }
  const TempDir dir_;
};

TEST_F(HuggingFaceRefusal, NamesWhatIsNotSupported) {
  const std::string unsupported = "which is not supported";
  refuse([](auto& j) { j["model"]["type"] = "Unigram"; }, "'model.type' is \"Unigram\"", unsupported);
  refuse([](auto& j) { j["model"]["byte_fallback"] = true; }, "'model.byte_fallback'", unsupported);
  refuse([](auto& j) { j["model"]["dropout"] = 0.1; }, "'model.dropout' is 0.1", unsupported);
  refuse([](auto& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "'model.end_of_word_suffix'",
         unsupported);
  refuse([](auto& j) { j["normalizer"] = {{"type", "NFKC"}}; }, "'normalizer.type' is \"NFKC\"", unsupported);
  refuse(
      [](auto& j) {
        j["normalizer"] = LargeJson::parse(R"({"type": "Sequence", "normalizers":
                           [{"type": "NFC"}, {"type": "Lowercase"}]})");
      },
      "'normalizer.normalizers[1].type' is \"Lowercase\"", unsupported);
  refuse([](auto& j) { j["pre_tokenizer"] = nullptr; }, "'pre_tokenizer' is null", unsupported);
  refuse(
      [](auto& j) {
        j["pre_tokenizer"] = {{"type", "Metaspace"}};
      },
      "'pre_tokenizer'", "end with ByteLevel");
  const auto step = [](LargeJson& j, int i) -> LargeJson& { return j["pre_tokenizer"]["pretokenizers"][i]; };
  refuse([&](auto& j) { step(j, 0)["behavior"] = "Removed"; },
         "'pre_tokenizer.pretokenizers[0].behavior' is \"Removed\"", unsupported);
  refuse(
      [&](auto& j) {
        step(j, 0) = {{"type", "Punctuation"}};
      },
      "pretokenizers[0].type' is \"Punctuation\"", unsupported);
  refuse([&](auto& j) { step(j, 0)["pattern"]["Regex"] = "\\w+|\\W"; },
         "'pre_tokenizer.pretokenizers[0].pattern.Regex'", "'\\w' at byte 0");
  refuse([&](auto& j) { step(j, 1)["add_prefix_space"] = true; }, "pretokenizers[1].add_prefix_space'",
         unsupported);
}

TEST_F(HuggingFaceRefusal, NamesWhatIsBroken) {
  refuse([](auto& j) { j = LargeJson::array(); }, "no key 'format'", "");
  refuse([](auto& j) { j["model"] = 3; }, "key 'model' is no object", "");
  refuse([](auto& j) { j["model"].erase("vocab"); }, "'model.vocab'", "missing");
  refuse([](auto& j) { j["model"]["vocab"]["x"] = -1; }, "'model.vocab.x'", "no number of a token");
  refuse([](auto& j) { j["model"]["vocab"]["x"] = 1e9; }, "'model.vocab.x'", "no number of a token");
  refuse([](auto& j) { j["model"]["vocab"]["xyz"] = 70; }, "'model.vocab' gives the number 70 to both",
         "'xyz'");
  refuse([](auto& j) { j["model"]["vocab"].erase("Ġ"); }, "'model.vocab' has no token 'Ġ' for the byte 32",
         "initial_alphabet");
  refuse([](auto& j) { j["model"].erase("merges"); }, "'model.merges'", "missing");
  refuse([](auto& j) { j["model"]["merges"][7] = "abc"; }, "'model.merges[7]'", "no pair of tokens");
  refuse([](auto& j) { j["model"]["merges"][7] = "a b c"; }, "'model.merges[7]'", "no pair of tokens");
  refuse(
      [](auto& j) {
        j["model"]["merges"][8] = {"qqq", "b"};
      },
      "'model.merges[8]' needs the token 'qqq'", "not in the vocabulary");
  refuse([](auto& j) { j["model"]["merges"][8] = "Q Q"; }, "'model.merges[8]' needs the token 'QQ'",
         "not in the vocabulary");
  refuse([](auto& j) { j["added_tokens"][0]["id"] = 70; }, "'added_tokens[0].id' gives the number 70 to both",
         "");
  refuse([](auto& j) { j["added_tokens"][0]["content"] = "a"; }, "'added_tokens[0].id'", "in the vocabulary");
  refuse([](auto& j) { j["added_tokens"][0]["content"] = ""; }, "'added_tokens[0].content'", "empty");
  refuse([](auto& j) { j["added_tokens"][0]["lstrip"] = 1; }, "'added_tokens[0].lstrip'",
         "neither true nor false");
  refuse([](auto& j) { j["added_tokens"] = LargeJson::array(); }, "none of the usual tokens",
         "--end-of-document");
}

TEST_F(HuggingFaceRefusal, WhatIsCutShort) {
  const std::string whole = read_whole_file(golden("gpt2.json"));
  write_durably(dir_ / "t.json", whole.substr(0, whole.size() / 2));
  EXPECT_THAT([&] { import_tokenizer(dir_ / "t.json", ""); },
              ThrowsUserError(AllOf(HasSubstr("t.json"), HasSubstr("not valid JSON"))));
  auto ours = parse_json(imported("gpt2")->to_json(), "ours");
  ours["end_of_document"] = 100000;
  write_durably(dir_ / "o.json", ours.dump());
  EXPECT_THAT([&] { load_tokenizer(dir_ / "o.json"); },
              ThrowsUserError(HasSubstr("'end_of_document' is no token")));
  EXPECT_THAT([&] { load_tokenizer(golden("gpt2.json")); }, ThrowsUserError(HasSubstr("no key 'format'")));
}

TEST(PrepareWithHuggingFace, WritesTheTokensOfTheWholeText) {
  const TempDir dir;
  std::string text = made_up_prose(2 * kPieceBytes + 100, 6);
  write_durably(dir / "a.txt", text);
  PrepareOptions options;
  options.inputs = {dir / "a.txt"};
  options.output = dir / "out";
  options.tokenizer = golden("llama3.json");
  options.validation_fraction = 0.0;
  const PrepareSummary summary = prepare_quietly(options);
  EXPECT_EQ(summary.manifest.tokenizer_kind, "huggingface");
  EXPECT_EQ(summary.training_bytes, 0);
  const auto tokenizer = load_tokenizer(dir / "out/tokenizer.json");
  auto expected = tokens_of_text(*tokenizer, text);
  expected.push_back(tokenizer->end_of_document());
  TokenDataset dataset(dir / "out", kTrainSplit);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  dataset.read(0, tokens);
  EXPECT_EQ(tokens, expected);
  options.tokenizer = dir / "out/tokenizer.json";
  options.output = dir / "again";
  EXPECT_EQ(prepare_quietly(options).manifest.dataset_id, summary.manifest.dataset_id);
  options.output = dir / "no";
  options.end_of_document = "<|end_of_text|>";
  EXPECT_THAT([&] { prepare_quietly(options); },
              ThrowsUserError(HasSubstr("--end-of-document: is for tokenizers of other programs")));
}

}  // namespace
}  // namespace trireme
