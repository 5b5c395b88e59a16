#include "data/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <glog/logging.h>

#include "data/checksum.h"
#include "data/json.h"
#include "data/tokenizer/words.h"

namespace trireme {
namespace {

constexpr std::size_t kCacheSlots = std::size_t{1} << 15;  // 2 MiB

std::uint64_t packed(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::size_t hash_of(std::uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15u;
  return static_cast<std::size_t>(pair ^ pair >> 32);
}

}  // namespace

BpeTokenizer::BpeTokenizer(std::vector<TokenPair> merges) : merges_(std::move(merges)), cache_(kCacheSlots) {
  slots_.resize(std::bit_ceil(2 * merges_.size() + 2));
  bytes_begin_.push_back(0);
  for (std::size_t i = 0; i < merges_.size(); ++i) {
    const auto [left, right] = merges_[i];
    std::size_t slot = hash_of(packed(left, right)) & (slots_.size() - 1);
    while (slots_[slot].token != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {packed(left, right), kFirstMerge + static_cast<std::int32_t>(i)};
    const std::string bytes = std::string(bytes_of(left)) + std::string(bytes_of(right));
    merged_bytes_ += bytes;
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
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    if (word.size() > CachedWord::kMaxBytes) {
      encode_word(word, tokens);
      continue;
    }
    CachedWord& cached = cache_[checksum_of(word) & (kCacheSlots - 1)];
    if (word != std::string_view(cached.bytes.data(), cached.num_bytes)) {
      const std::size_t first = tokens.size();
      encode_word(word, tokens);
      const std::size_t num_tokens = tokens.size() - first;
      if (num_tokens > CachedWord::kMaxTokens) continue;
      cached.num_bytes = static_cast<std::uint8_t>(word.size());
      cached.num_tokens = static_cast<std::uint8_t>(num_tokens);
      std::copy(word.begin(), word.end(), cached.bytes.begin());
      std::copy(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end(), cached.tokens.begin());
      continue;
    }
    tokens.insert(tokens.end(), cached.tokens.begin(), cached.tokens.begin() + cached.num_tokens);
  }
}

// The token that the two merge to, 0 if none.
std::int32_t BpeTokenizer::merged(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = packed(left, right);
  std::size_t slot = hash_of(pair) & (slots_.size() - 1);
  while (slots_[slot].token != 0 && slots_[slot].pair != pair) slot = (slot + 1) & (slots_.size() - 1);
  return slots_[slot].token;
}

void BpeTokenizer::encode_word(std::string_view word, std::vector<std::int32_t>& tokens) const {
  std::array<std::int32_t, kMaxWordBytes> symbols;
  std::array<std::int32_t, kMaxWordBytes> candidates;  // what symbols i and i + 1 merge to, 0 if nothing
  std::size_t size = word.size();
  for (std::size_t i = 0; i < size; ++i) symbols[i] = static_cast<unsigned char>(word[i]);
  for (std::size_t i = 0; i + 1 < size; ++i) candidates[i] = merged(symbols[i], symbols[i + 1]);
  while (size > 1) {
    std::size_t best = size;
    for (std::size_t i = 0; i + 1 < size; ++i)
      if (candidates[i] != 0 && (best == size || candidates[i] < candidates[best])) best = i;
    if (best == size) break;
    symbols[best] = candidates[best];
    std::copy(symbols.begin() + best + 2, symbols.begin() + size, symbols.begin() + best + 1);
    std::copy(candidates.begin() + best + 2, candidates.begin() + size, candidates.begin() + best + 1);
    --size;
    if (best > 0) candidates[best - 1] = merged(symbols[best - 1], symbols[best]);
    if (best + 1 < size) candidates[best] = merged(symbols[best], symbols[best + 1]);
  }
  tokens.insert(tokens.end(), symbols.begin(), symbols.begin() + size);
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
