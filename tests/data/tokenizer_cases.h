// What the tests of tokenizers of other programs share.
#pragma once

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "data/file.h"
#include "data/json.h"
#include "data/tokenizer/tokenizer.h"

namespace trireme {

// A file beside tests/data/golden/make_tokenizers.py, which makes them.
inline std::string golden(const std::string& file) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/data/golden/" + file;
}

inline std::vector<std::int32_t> tokens_of_text(Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> tokens;
  tokenizer.encode(text, tokens);
  return tokens;
}

// Encodes the strings of NAME_cases.json.
inline void expect_golden_tokens(Tokenizer& tokenizer, const std::string& name) {
  const auto cases = parse_json<LargeJson>(read_whole_file(golden(name + "_cases.json")), name);
  ASSERT_EQ(cases.size(), 100u);
  for (const LargeJson& one : cases)
    EXPECT_EQ(tokens_of_text(tokenizer, one[0].get<std::string>()), one[1].get<std::vector<std::int32_t>>())
        << name << ": " << one[0];
}

// Pieces of text of every kind in any order; with `any_bytes`, bytes that are no UTF-8, too.
inline std::string odd_text(std::mt19937_64& random, std::size_t num_parts, bool any_bytes) {
  static const std::vector<std::string> kParts = {
      "the", " ",      " ",      " ",      "  ", "   ", "\n",      "\r\n",   "\n\n",    "\t",
      "\v",  "\u00a0", "\u3000", "\u2581", "'s", "'S",  "'",       "don't",  "ship",    "1984",
      "7",   "...",    "!",      "<|",     "|>", "é",   "e\u0301", "日本語", "море",    "🚢",
      "№",   "Å",      "ſ",      "'ſ",     "_",  "-",   ",",       "=",      "<|two|>", "<|im_start|>"};
  std::string text;
  for (std::size_t i = 0; i < num_parts; ++i) {
    const std::uint64_t draw = random();
    if (any_bytes && draw % 8 == 0) {
      text += static_cast<char>(draw >> 32);
    } else if (draw % 8 == 1) {
      text += static_cast<char>(draw >> 32 & 0x7F);
    } else {
      text += kParts[(draw >> 16) % kParts.size()];
    }
  }
  return text;
}

// The tokens of two parts, cut where safe_cut() says, are those of the whole; returns how many cuts there
// were.
inline int expect_safe_cuts(Tokenizer& tokenizer, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  int num_cuts = 0;
  for (int round = 0; round < 500; ++round) {
    const std::string text = odd_text(random, 60, true);
    const std::string_view head = std::string_view(text).substr(0, random() % text.size());
    const std::size_t cut = tokenizer.safe_cut(head);
    num_cuts += cut > 0 ? 1 : 0;
    auto tokens = tokens_of_text(tokenizer, head.substr(0, cut));
    tokenizer.encode(std::string_view(text).substr(cut), tokens);
    EXPECT_EQ(tokens, tokens_of_text(tokenizer, text)) << text << "\ncut at " << cut;
  }
  return num_cuts;
}

// Saved with a data set and loaded again it is the same.
inline void expect_round_trip(Tokenizer& tokenizer, const std::string& path) {
  save_tokenizer(tokenizer, path);
  const auto loaded = load_tokenizer(path);
  EXPECT_EQ(loaded->identity(), tokenizer.identity());
  EXPECT_EQ(loaded->kind(), tokenizer.kind());
  EXPECT_EQ(loaded->vocab_size(), tokenizer.vocab_size());
  EXPECT_EQ(loaded->end_of_document(), tokenizer.end_of_document());
  std::mt19937_64 random(1);
  const std::string text = odd_text(random, 1000, false);
  EXPECT_EQ(tokens_of_text(*loaded, text), tokens_of_text(tokenizer, text));
}

}  // namespace trireme
