#include "data/tokenizer/tokenizer.h"

#include <algorithm>
#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/durable_file.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/byte.h"
#include "data/tokenizer/words.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Bytes of every kind: words that come again, white space, digits, marks, UTF-8 and what is no UTF-8.
std::string random_text(std::mt19937_64& random, std::size_t size) {
  static const std::vector<std::string> kParts = {
      "the ", "sea", " ship", "'s",  "don't",  "\n", "\r\n", "  ",   "\t",       "1984",
      "...",  "--",  "\"",    "é",   "日本語", "🚢",  " a",   "aaaa", "\xff\xfe", std::string("\0", 1),
      "_",    " '",  "'ll",   " \n "};
  std::string text;
  while (text.size() < size) {
    const std::uint64_t draw = random();
    if (draw % 5 == 0) {
      text += static_cast<char>(draw >> 32);
    } else {
      text += kParts[(draw >> 16) % kParts.size()];
    }
  }
  return text;
}

std::unique_ptr<BpeTokenizer> trained(std::string_view text, int vocab_size) {
  BpeTrainer trainer;
  trainer.add(text);
  return std::make_unique<BpeTokenizer>(trainer.train(vocab_size));
}

std::vector<std::int32_t> encode(Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> tokens;
  tokenizer.encode(text, tokens);
  return tokens;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = word_end(text, begin);
    words.emplace_back(text.substr(begin, end - begin));
  }
  return words;
}

// The definition of the training, as slowly as it can be said.
std::vector<TokenPair> merges_by_definition(std::string_view text, int vocab_size) {
  std::vector<std::vector<std::int32_t>> words;
  for (const std::string& word : words_of(text)) {
    words.emplace_back();
    for (const char c : word) words.back().push_back(static_cast<unsigned char>(c));
  }
  std::vector<TokenPair> merges;
  for (std::int32_t token = BpeTokenizer::kFirstMerge; token < vocab_size; ++token) {
    std::map<std::pair<std::int32_t, std::int32_t>, int> counts;
    for (const auto& word : words)
      for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    const auto best = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == counts.end() || best->second < 2) break;
    const auto [left, right] = best->first;
    merges.push_back({left, right});
    for (auto& word : words) {
      std::vector<std::int32_t> shorter;
      for (std::size_t i = 0; i < word.size(); ++i) {
        const bool merges_here = i + 1 < word.size() && word[i] == left && word[i + 1] == right;
        shorter.push_back(merges_here ? token : word[i]);
        if (merges_here) ++i;
      }
      word = shorter;
    }
  }
  return merges;
}

TEST(Words, AreCutAsThePageSays) {
  EXPECT_THAT(words_of("Hello world, it's 1984!"),
              ElementsAre("Hello", " world", ",", " it", "'s", " 1984", "!"));
  EXPECT_THAT(words_of("a  b\n\n  c \n"), ElementsAre("a", " ", " b", "\n\n ", " c", " \n"));
  EXPECT_THAT(words_of("'tis 'the' x1y"), ElementsAre("'", "tis", " '", "the", "'", " x", "1", "y"));
  EXPECT_THAT(words_of("naïve 日本語"), ElementsAre("naïve", " 日本語"));
}

TEST(Words, LongRunsAreCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "語";
  const auto words = words_of(text);
  ASSERT_EQ(words.size(), 5u);
  EXPECT_EQ(words[0].size(), 63u);
  EXPECT_EQ(words_of(std::string(1000, ' ')).size(), 16u);
  EXPECT_EQ(words_of(std::string(1000, '\x80')).size(), 16u);  // no UTF-8
}

TEST(Tokenizer, LosesNothingOfAnyBytes) {
  std::mt19937_64 random(1);
  ByteTokenizer bytes;
  const auto bpe = trained(random_text(random, 20000), 600);
  EXPECT_GT(bpe->vocab_size(), 500);
  for (int round = 0; round < 300; ++round) {
    std::string text = random_text(random, random() % 500);
    if (round % 3 == 0)
      for (char& c : text) c = static_cast<char>(random());
    for (Tokenizer* tokenizer : {static_cast<Tokenizer*>(&bytes), static_cast<Tokenizer*>(bpe.get())}) {
      const auto tokens = encode(*tokenizer, text);
      ASSERT_EQ(tokenizer->decode(tokens), text);
      for (const std::int32_t token : tokens) {
        ASSERT_LT(token, tokenizer->vocab_size());
        ASSERT_NE(token, tokenizer->end_of_document());
      }
    }
  }
}

TEST(Tokenizer, EndOfDocumentDecodesToNothing) {
  ByteTokenizer bytes;
  EXPECT_EQ(bytes.decode(std::vector<std::int32_t>{'a', 256, 'b'}), "ab");
}

TEST(Tokenizer, PartsCutAtSafePlacesGiveTheSameTokens) {
  std::mt19937_64 random(2);
  const auto bpe = trained(random_text(random, 20000), 600);
  for (int round = 0; round < 300; ++round) {
    const std::string text = random_text(random, 400);
    const std::string_view head = std::string_view(text).substr(0, random() % text.size());
    const std::size_t cut = bpe->safe_cut(head);
    auto tokens = encode(*bpe, head.substr(0, cut));
    bpe->encode(std::string_view(text).substr(cut), tokens);
    ASSERT_EQ(tokens, encode(*bpe, text));
  }
}

TEST(BpeTrainer, FindsTheMergesOfTheDefinition) {
  std::mt19937_64 random(3);
  for (const std::size_t size : {10, 100, 1000, 5000}) {
    const std::string text = random_text(random, size);
    BpeTrainer trainer;
    trainer.add(text);
    EXPECT_EQ(trainer.train(400), merges_by_definition(text, 400)) << size;
  }
  BpeTrainer trainer;
  trainer.add("aaaaa aaaa aaa aa");
  EXPECT_EQ(trainer.train(300), merges_by_definition("aaaaa aaaa aaa aa", 300));
}

TEST(BpeTrainer, StopsWhenNothingComesTwice) {
  EXPECT_EQ(trained("", 1000)->vocab_size(), 257);
  EXPECT_EQ(trained("abcdef", 1000)->vocab_size(), 257);
  EXPECT_EQ(trained("abc abc", 1000)->vocab_size(), 259);
}

TEST(BpeTokenizer, MergesFrequentWordsToOneToken) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += " the trireme";
  const auto bpe = trained(text, 300);
  EXPECT_EQ(encode(*bpe, " the trireme the").size(), 3u);
}

TEST(TokenizerFile, BringsTheSameTokenizerBack) {
  const TempDir dir;
  std::mt19937_64 random(4);
  const std::string text = random_text(random, 5000);
  const auto bpe = trained(text, 500);
  save_tokenizer(*bpe, dir / "tokenizer.json");
  const auto loaded = load_tokenizer(dir / "tokenizer.json");
  EXPECT_EQ(loaded->identity(), bpe->identity());
  EXPECT_EQ(encode(*loaded, text), encode(*bpe, text));
  EXPECT_NE(trained(text, 300)->identity(), bpe->identity());
  save_tokenizer(ByteTokenizer(), dir / "byte.json");
  EXPECT_EQ(load_tokenizer(dir / "byte.json")->identity(), ByteTokenizer().identity());
}

TEST(TokenizerFile, RefusesWhatIsNone) {
  const TempDir dir;
  const auto refuse = [&](const std::string& text, const std::string& what) {
    write_durably(dir / "t.json", text, IfExists::kReplace);
    EXPECT_THAT([&] { load_tokenizer(dir / "t.json"); },
                ThrowsUserError(AllOf(HasSubstr("t.json"), HasSubstr(what))));
  };
  const std::string bpe = R"({"format": "trireme-tokenizer-1", "kind": "bpe", "merges": )";
  refuse("{", "not valid JSON");
  refuse("[]", "no key 'format'");
  refuse(R"({"format": 1})", "wrong type");
  refuse(R"({"format": "other"})", "format 'other'");
  refuse(R"({"format": "trireme-tokenizer-1", "kind": "x"})", "unknown kind 'x'");
  refuse(bpe + "[[1]]}", "merge 0 is not a pair");
  refuse(bpe + "[[1, 2], [258, 3]]}", "merge 1 is not a pair");
  refuse(bpe + "[[1, 256]]}", "merge 0 is not a pair");
  std::string doubling = bpe + "[[1, 1]";
  for (int i = 257; i < 300; ++i) doubling += ",[" + std::to_string(i) + "," + std::to_string(i) + "]";
  refuse(doubling + "]}", "longer than any word");
}

}  // namespace
}  // namespace trireme
