// The tokens of frequent words, so that most of a text needs no merging.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/checksum.h"

namespace trireme {

// Has a place for each hash of a word; a newer word takes it from an older one.
class WordCache {
 public:
  WordCache() : entries_(kNumEntries) {}

  // Appends the tokens of the word: those of the last time, or else what `encode_word(word, tokens)` appends.
  // REQUIRES: the word isn't empty; the same word always has the same tokens.
  template <typename EncodeWord>
  void encode(std::string_view word, std::vector<std::int32_t>& tokens, const EncodeWord& encode_word) {
    if (word.size() > Entry::kMaxBytes) {
      encode_word(word, tokens);
      return;
    }
    Entry& entry = entries_[checksum_of(word) & (kNumEntries - 1)];
    if (word == std::string_view(entry.bytes.data(), entry.num_bytes)) {
      tokens.insert(tokens.end(), entry.tokens.begin(), entry.tokens.begin() + entry.num_tokens);
      return;
    }
    const std::size_t first = tokens.size();
    encode_word(word, tokens);
    const std::size_t num_tokens = tokens.size() - first;
    if (num_tokens > Entry::kMaxTokens) return;
    entry.num_bytes = static_cast<std::uint8_t>(word.size());
    entry.num_tokens = static_cast<std::uint8_t>(num_tokens);
    std::copy(word.begin(), word.end(), entry.bytes.begin());
    std::copy(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end(), entry.tokens.begin());
  }

 private:
  struct alignas(64) Entry {  // one cache line
    static constexpr std::size_t kMaxBytes = 30;
    static constexpr std::size_t kMaxTokens = 8;
    std::uint8_t num_bytes = 0;
    std::uint8_t num_tokens = 0;
    std::array<char, kMaxBytes> bytes;
    std::array<std::int32_t, kMaxTokens> tokens;
  };
  static constexpr std::size_t kNumEntries = std::size_t{1} << 15;  // 2 MiB

  std::vector<Entry> entries_;
};

}  // namespace trireme
