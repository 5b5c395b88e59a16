#include <algorithm>
#include <queue>
#include <utility>

#include <glog/logging.h>

#include "data/checksum.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/words.h"

namespace trireme {
namespace {

// All words with their counts and, kept up to date from merge to merge, all pairs of neighbours in them.
class Merger {
 public:
  // The words in any order that is always the same.
  explicit Merger(const std::vector<std::pair<std::string_view, std::int64_t>>& words) {
    for (const auto& [text, count] : words) {
      words_.push_back({symbols_.size(), text.size(), count});
      for (const char c : text) symbols_.push_back(static_cast<unsigned char>(c));
    }
    for (std::size_t w = 0; w < words_.size(); ++w)
      for (std::size_t i = words_[w].begin; i + 1 < words_[w].begin + words_[w].size; ++i)
        change({symbols_[i], symbols_[i + 1]}, w, words_[w].count);
    for (const auto& [pair, found] : pairs_) queue_.push({found.count, pair});
  }

  // Merges the most frequent pair to `token`; false when none occurs twice.
  bool merge_best(std::int32_t token, TokenPair& merged) {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const std::int64_t count = pairs_.at(best.pair).count;
      if (count != best.count) {  // it lost some to other merges since it was queued
        if (count > 1) queue_.push({count, best.pair});
        continue;
      }
      if (count < 2) return false;
      merged = best.pair;
      merge(best.pair, token);
      return true;
    }
    return false;
  }

 private:
  struct Word {
    std::size_t begin;  // in symbols_
    std::size_t size;
    std::int64_t count;
  };
  struct Occurrences {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // all that have the pair, and some that had it
  };
  struct Candidate {
    std::int64_t count;
    TokenPair pair;
    bool operator<(const Candidate& other) const {  // the queue has the largest on top
      if (count != other.count) return count < other.count;
      return std::pair(pair.left, pair.right) > std::pair(other.pair.left, other.pair.right);
    }
  };
  struct PairHash {
    std::size_t operator()(const TokenPair& pair) const {
      const std::uint64_t packed =
          std::uint64_t{static_cast<std::uint32_t>(pair.left)} << 32 | static_cast<std::uint32_t>(pair.right);
      return static_cast<std::size_t>((packed * 0x9E3779B97F4A7C15u) >> 7);
    }
  };

  void change(TokenPair pair, std::size_t word, std::int64_t by) {
    Occurrences& found = pairs_[pair];
    found.count += by;
    const auto index = static_cast<std::uint32_t>(word);
    if (by > 0 && (found.words.empty() || found.words.back() != index)) found.words.push_back(index);
  }

  void merge(TokenPair pair, std::int32_t token) {
    const std::vector<std::uint32_t> words = std::move(pairs_.at(pair).words);
    std::vector<TokenPair> born;
    for (const std::uint32_t w : words) merge_in_word(pair, token, w, born);
    pairs_.erase(pair);
    std::sort(born.begin(), born.end(), [](const TokenPair& a, const TokenPair& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    born.erase(std::unique(born.begin(), born.end()), born.end());
    for (const TokenPair& fresh : born)
      if (const auto count = pairs_.at(fresh).count; count > 1) queue_.push({count, fresh});
  }

  // Rewrites the word from left to right; only pairs beside a merged one change.
  void merge_in_word(TokenPair pair, std::int32_t token, std::uint32_t index, std::vector<TokenPair>& born) {
    Word& word = words_[index];
    std::int32_t* symbols = symbols_.data() + word.begin;
    std::size_t written = 0;
    for (std::size_t i = 0; i < word.size; ++i) {
      if (symbols[i] != pair.left || i + 1 == word.size || symbols[i + 1] != pair.right) {
        symbols[written++] = symbols[i];
        continue;
      }
      if (written > 0) {
        const std::int32_t before = symbols[written - 1];
        change({before, pair.left}, index, -word.count);
        change({before, token}, index, word.count);
        born.push_back({before, token});
      }
      if (i + 2 < word.size) {
        const std::int32_t after = symbols[i + 2];
        change({pair.right, after}, index, -word.count);
        change({token, after}, index, word.count);
        born.push_back({token, after});
      }
      symbols[written++] = token;
      ++i;
    }
    word.size = written;
  }

  std::vector<Word> words_;
  std::vector<std::int32_t> symbols_;
  std::unordered_map<TokenPair, Occurrences, PairHash> pairs_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

std::size_t BpeTrainer::Hash::operator()(std::string_view word) const {
  return checksum_of(word);
}

void BpeTrainer::add(std::string_view text) {
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    const auto found = word_counts_.find(word);
    if (found != word_counts_.end()) {
      ++found->second;
    } else {
      word_counts_.emplace(word, 1);
    }
  }
}

std::vector<TokenPair> BpeTrainer::train(int vocab_size) const {
  CHECK_GE(vocab_size, BpeTokenizer::kFirstMerge);
  std::vector<std::pair<std::string_view, std::int64_t>> words(word_counts_.begin(), word_counts_.end());
  std::sort(words.begin(), words.end());
  Merger merger(words);
  std::vector<TokenPair> merges;
  for (std::int32_t token = BpeTokenizer::kFirstMerge; token < vocab_size; ++token) {
    TokenPair merge;
    if (!merger.merge_best(token, merge)) break;
    merges.push_back(merge);
  }
  return merges;
}

}  // namespace trireme
