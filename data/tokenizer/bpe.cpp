#include "data/tokenizer/bpe.h"

#include <array>
#include <utility>

#include <glog/logging.h>

#include "data/json.h"
#include "data/tokenizer/words.h"

namespace trireme {

BpeTokenizer::BpeTokenizer(std::vector<TokenPair> merges)
    : merges_(std::move(merges)), table_(merges_.size()) {
  bytes_begin_.push_back(0);
  for (std::size_t i = 0; i < merges_.size(); ++i) {
    const auto rank = static_cast<std::int32_t>(i);
    table_.set(merges_[i], rank, kFirstMerge + rank);
    merged_bytes_ += std::string(bytes_of(merges_[i].left)) + std::string(bytes_of(merges_[i].right));
    bytes_begin_.push_back(merged_bytes_.size());
  }
}

std::string_view BpeTokenizer::bytes_of(std::int32_t token) const {
  if (token == kEndOfDocument) return {};
  if (token >= 0 && token < kEndOfDocument) return all_bytes().substr(static_cast<std::size_t>(token), 1);
  const std::size_t merge = static_cast<std::size_t>(token - kFirstMerge);
  CHECK(token >= 0 && merge + 1 < bytes_begin_.size()) << "token " << token << " is not in the vocabulary";
  return std::string_view(merged_bytes_)
      .substr(bytes_begin_[merge], bytes_begin_[merge + 1] - bytes_begin_[merge]);
}

void BpeTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) {
  const auto encode_unseen = [this](std::string_view word, std::vector<std::int32_t>& appended) {
    encode_word(word, appended);
  };
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = word_end(text, begin);
    cache_.encode(text.substr(begin, end - begin), tokens, encode_unseen);
  }
}

void BpeTokenizer::encode_word(std::string_view word, std::vector<std::int32_t>& tokens) const {
  std::array<std::int32_t, kMaxWordBytes> symbols;
  for (std::size_t i = 0; i < word.size(); ++i) symbols[i] = static_cast<unsigned char>(word[i]);
  table_.merge(std::span(symbols).first(word.size()), tokens);
}

std::size_t BpeTokenizer::safe_cut(std::string_view text) const {
  return last_word_border(text);
}

std::string BpeTokenizer::to_json() const {
  Json json = {{"format", kTokenizerFormat}, {"kind", kKind}, {"end_of_document", kEndOfDocument}};
  Json pairs = Json::array();
  for (const auto& [left, right] : merges_) pairs.push_back({left, right});
  json["merges"] = std::move(pairs);
  return json.dump() + "\n";
}

}  // namespace trireme
