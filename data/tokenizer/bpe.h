// Byte-pair encoding over bytes (Sennrich, Haddow, Birch 2016), trained on the corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/byte.h"
#include "data/tokenizer/merge_table.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/word_cache.h"

namespace trireme {

// Merge i joins two earlier tokens to the token kFirstMerge + i.  A word's bytes are merged by the earliest
// merge that applies, again and again.
class BpeTokenizer final : public Tokenizer {
 public:
  static constexpr const char* kKind = "bpe";
  static constexpr std::int32_t kFirstMerge = kEndOfDocument + 1;

  explicit BpeTokenizer(std::vector<TokenPair> merges);

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) override;
  std::string_view bytes_of(std::int32_t token) const override;
  int vocab_size() const override { return kFirstMerge + static_cast<int>(merges_.size()); }
  std::int32_t end_of_document() const override { return kEndOfDocument; }
  std::size_t safe_cut(std::string_view text) const override;
  std::string kind() const override { return kKind; }
  std::string to_json() const override;

  const std::vector<TokenPair>& merges() const { return merges_; }

 private:
  void encode_word(std::string_view word, std::vector<std::int32_t>& tokens) const;

  std::vector<TokenPair> merges_;
  MergeTable table_;
  std::string merged_bytes_;              // of all merged tokens, joined
  std::vector<std::size_t> bytes_begin_;  // of each merged token, and the end
  WordCache cache_;
};

// Counts the words of a corpus, then finds the merges: at each turn the most frequent pair of neighbours, of
// equals the one with the smaller tokens.  A pure function of the text: no thread, no hash order has a say.
class BpeTrainer {
 public:
  // The text is cut into words by itself.
  void add(std::string_view text);
  // Stops before `vocab_size` when no pair is left that occurs twice.
  // REQUIRES: vocab_size >= BpeTokenizer::kFirstMerge.
  std::vector<TokenPair> train(int vocab_size) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const;
  };

  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> word_counts_;
};

}  // namespace trireme
