#include "data/tokenizer/huggingface.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

#include "data/json.h"
#include "data/tokenizer/byte.h"
#include "data/tokenizer/nfc.h"
#include "data/unicode.h"

namespace trireme {
namespace {

std::vector<AddedToken> tokens_where(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> chosen;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(chosen),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return chosen;
}

}  // namespace

HuggingFaceTokenizer::HuggingFaceTokenizer(HuggingFaceFile file, std::int32_t end_of_document)
    : file_(std::move(file)),
      end_of_document_(end_of_document),
      table_(file_.merges.size()),
      raw_tokens_(tokens_where(file_.added_tokens, false)),
      normalized_tokens_(tokens_where(file_.added_tokens, true)) {
  CHECK(end_of_document_ >= 0 && end_of_document_ < vocab_size());
  for (std::size_t i = 0; i < file_.merges.size(); ++i)
    table_.set(file_.merges[i].pair, static_cast<std::int32_t>(i), file_.merges[i].token);
  if (file_.whole_words_first)
    for (std::size_t token = 0; token < file_.bytes.size(); ++token)
      if (file_.is_word[token]) words_.emplace(file_.bytes[token], static_cast<std::int32_t>(token));
  const auto& patterns = file_.patterns;
  can_cut_before_space_ = std::all_of(patterns.begin(), patterns.end(),
                                      [](const auto& p) { return p.never_crosses_into_space(); }) &&
                          std::any_of(patterns.begin(), patterns.end(),
                                      [](const auto& p) { return p.always_ends_before_space(); });
}

std::string_view HuggingFaceTokenizer::bytes_of(std::int32_t token) const {
  CHECK(token >= 0 && token < vocab_size()) << "token " << token << " is not in the vocabulary";
  return token == end_of_document_ ? std::string_view() : std::string_view(file_.bytes[token]);
}

std::optional<std::int32_t> HuggingFaceTokenizer::mask_token() const {
  for (const AddedToken& token : file_.added_tokens) {
    if (std::find(kMaskNames.begin(), kMaskNames.end(), token.content) != kMaskNames.end()) return token.id;
  }
  return std::nullopt;
}

void HuggingFaceTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) {
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_size(text);
    encode_utf8(text.substr(0, valid), tokens);
    text.remove_prefix(valid);
    std::size_t invalid = 0;
    while (invalid < text.size() && valid_utf8_size(text.substr(invalid, 4)) == 0) ++invalid;
    if (invalid > 0) encode_word(text.substr(0, invalid), tokens);
    text.remove_prefix(invalid);
  }
}

void HuggingFaceTokenizer::encode_utf8(std::string_view text, std::vector<std::int32_t>& tokens) {
  const auto on_token = [&](std::int32_t token) { tokens.push_back(token); };
  const auto on_word_text = [&](std::string_view part) { split(0, part, tokens); };
  raw_tokens_.split(
      text,
      [&](std::string_view part) {
        if (file_.composes) {
          normalized_tokens_.split(to_nfc(part), on_word_text, on_token);
        } else {
          normalized_tokens_.split(part, on_word_text, on_token);
        }
      },
      on_token);
}

// Cuts by the pattern of this number and hands the matches, and what lies between them, to the next.
void HuggingFaceTokenizer::split(std::size_t pattern, std::string_view part,
                                 std::vector<std::int32_t>& tokens) {
  if (pattern == file_.patterns.size()) {
    const auto encode_unseen = [this](std::string_view word, std::vector<std::int32_t>& appended) {
      encode_word(word, appended);
    };
    cache_.encode(part, tokens, encode_unseen);
    return;
  }
  for (std::size_t done = 0; done < part.size();) {
    auto [begin, end] = file_.patterns[pattern].find(part, done);
    if (begin == end) begin = end = part.size();
    if (begin > done) split(pattern + 1, part.substr(done, begin - done), tokens);
    if (end > begin) split(pattern + 1, part.substr(begin, end - begin), tokens);
    done = end;
  }
}

void HuggingFaceTokenizer::encode_word(std::string_view word, std::vector<std::int32_t>& tokens) {
  if (const auto whole = words_.find(word); whole != words_.end()) {
    tokens.push_back(whole->second);
    return;
  }
  symbols_.clear();
  for (const char c : word) symbols_.push_back(file_.token_of_byte[static_cast<unsigned char>(c)]);
  table_.merge(symbols_, tokens);
}

// A space after ASCII: nothing composes over it, and no pattern that is known reads on over it.
std::size_t HuggingFaceTokenizer::safe_cut(std::string_view text) const {
  if (!can_cut_before_space_) return 0;
  for (std::size_t i = text.size(); i-- > 1;) {
    const char before = text[i - 1];
    if (text[i] == ' ' && before > ' ' && raw_tokens_.allow_cut_before_space(before) &&
        normalized_tokens_.allow_cut_before_space(before))
      return i;
  }
  return 0;
}

std::string HuggingFaceTokenizer::losses() const {
  std::string losses;
  const auto add = [&](bool is_lost, const char* what) {
    if (is_lost) losses += (losses.empty() ? "" : ", ") + std::string(what);
  };
  const auto& added = file_.added_tokens;
  add(file_.composes, "characters that NFC composes");
  add(std::any_of(added.begin(), added.end(), [](const AddedToken& t) { return t.lstrip || t.rstrip; }),
      "white space beside some added tokens");
  return losses;
}

std::string HuggingFaceTokenizer::to_json() const {
  return Json{{"format", kTokenizerFormat},
              {"kind", kKind},
              {"end_of_document", end_of_document_},
              {"file", file_.text}}
             .dump(1) +
         "\n";
}

}  // namespace trireme
