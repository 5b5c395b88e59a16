#include "data/tokenizer/wordpiece.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

#include "data/json.h"
#include "data/tokenizer/byte.h"
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

WordPieceTokenizer::WordPieceTokenizer(WordPieceFile file, std::int32_t end_of_document)
    : file_(std::move(file)),
      end_of_document_(end_of_document),
      raw_tokens_(tokens_where(file_.added_tokens, false)),
      normalized_tokens_(tokens_where(file_.added_tokens, true)) {
  CHECK(end_of_document_ >= 0 && end_of_document_ < vocab_size());
  for (const std::string& token : file_.tokens) {
    const bool continues = token.size() > file_.prefix.size() && token.starts_with(file_.prefix);
    bytes_.push_back(continues ? token.substr(file_.prefix.size()) : " " + token);
  }
}

std::string_view WordPieceTokenizer::bytes_of(std::int32_t token) const {
  CHECK(token >= 0 && token < vocab_size()) << "token " << token << " is not in the vocabulary";
  return token == end_of_document_ ? std::string_view()
                                   : std::string_view(bytes_[static_cast<std::size_t>(token)]);
}

void WordPieceTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) {
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_size(text);
    encode_utf8(text.substr(0, valid), tokens);
    text.remove_prefix(valid);
    while (!text.empty() && valid_utf8_size(text.substr(0, 4)) == 0) text.remove_prefix(1);
  }
}

void WordPieceTokenizer::encode_utf8(std::string_view text, std::vector<std::int32_t>& tokens) {
  const auto on_token = [&](std::int32_t token) { tokens.push_back(token); };
  const auto on_words = [&](std::string_view part) { encode_words(part, tokens); };
  raw_tokens_.split(
      text,
      [&](std::string_view part) {
        if (file_.normalizer) {
          normalized_tokens_.split(file_.normalizer->normalized(part), on_words, on_token);
        } else {
          normalized_tokens_.split(part, on_words, on_token);
        }
      },
      on_token);
}

void WordPieceTokenizer::encode_words(std::string_view text, std::vector<std::int32_t>& tokens) {
  const auto encode_unseen = [this](std::string_view word, std::vector<std::int32_t>& appended) {
    encode_word(word, appended);
  };
  for (const std::string_view word : bert_words(text)) cache_.encode(word, tokens, encode_unseen);
}

// The longest piece that the word begins with, then the longest that the rest does; unknown if there is none.
void WordPieceTokenizer::encode_word(std::string_view word, std::vector<std::int32_t>& tokens) {
  const auto is_continuation = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  const std::size_t first = tokens.size();
  const auto give_up = [&] {
    tokens.resize(first);
    tokens.push_back(file_.unknown);
  };
  const auto length =
      word.size() - static_cast<std::size_t>(std::count_if(word.begin(), word.end(), is_continuation));
  if (length > file_.max_word_characters) return give_up();
  for (std::size_t begin = 0; begin < word.size();) {
    std::size_t end = word.size();
    for (; end > begin; --end) {
      if (end < word.size() && is_continuation(word[end])) continue;
      piece_.assign(begin > 0 ? file_.prefix : "").append(word.substr(begin, end - begin));
      if (const auto found = file_.number_of.find(piece_); found != file_.number_of.end()) {
        tokens.push_back(found->second);
        break;
      }
    }
    if (end == begin) return give_up();
    begin = end;
  }
}

// A space after ASCII: no word goes on over it, and no mark joins what is before it.
Tokenizer::Frame WordPieceTokenizer::frame() const {
  const auto begin = file_.number_of.find("[CLS]"), end = file_.number_of.find("[SEP]");
  if (begin == file_.number_of.end() || end == file_.number_of.end()) return Tokenizer::frame();
  return {begin->second, end->second};
}

std::optional<std::int32_t> WordPieceTokenizer::mask_token() const {
  for (const std::string_view name : kMaskNames) {
    if (const auto found = file_.number_of.find(std::string(name)); found != file_.number_of.end())
      return found->second;
  }
  return std::nullopt;
}

std::size_t WordPieceTokenizer::safe_cut(std::string_view text) const {
  for (std::size_t i = text.size(); i-- > 1;) {
    const char before = text[i - 1];
    if (text[i] == ' ' && before > ' ' && raw_tokens_.allow_cut_before_space(before) &&
        normalized_tokens_.allow_cut_before_space(before))
      return i;
  }
  return 0;
}

std::string WordPieceTokenizer::losses() const {
  std::string losses = "white space, what is no UTF-8 and unknown words";
  if (!file_.normalizer) return losses;
  if (file_.normalizer->lowercase) losses += ", capital letters";
  if (file_.normalizer->strip_accents) losses += ", accents";
  if (file_.normalizer->clean_text) losses += ", control characters";
  return losses;
}

std::string WordPieceTokenizer::to_json() const {
  return Json{{"format", kTokenizerFormat},
              {"kind", kKind},
              {"end_of_document", end_of_document_},
              {"file", file_.text}}
             .dump(1) +
         "\n";
}

std::optional<Tokenizer::OriginalFile> WordPieceTokenizer::original_file() const {
  return OriginalFile{"tokenizer.json", file_.text, file_.tokens[static_cast<std::size_t>(end_of_document_)]};
}

}  // namespace trireme
