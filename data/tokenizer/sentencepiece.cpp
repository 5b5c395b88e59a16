#include "data/tokenizer/sentencepiece.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <glog/logging.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "data/json.h"
#include "data/tokenizer/base64.h"
#include "data/tokenizer/byte.h"
#include "data/tokenizer/sentencepiece_settings.h"
#include "data/unicode.h"

namespace trireme {
namespace {

constexpr std::string_view kSpaceSign = "\u2581";
constexpr std::size_t kMaxSentenceBytes = 4096;  // the library's trainer leaves out longer ones

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20;
}

// How much of the beginning of a text the library can be given so that all of it comes back.
std::size_t plain_size(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size() && !is_control(text[size])) {
    if (static_cast<unsigned char>(text[size]) < 0x80) {
      ++size;
      continue;
    }
    const std::size_t character = character_bytes(text.substr(size));
    if (character == 1 || text.substr(size, character) == kSpaceSign) break;  // of one byte: no UTF-8
    size += character;
  }
  return size;
}

// The end of the word that begins at `begin`: spaces, then others.
std::size_t spaced_word_end(std::string_view text, std::size_t begin) {
  const std::size_t word = text.find_first_not_of(' ', begin);
  return std::min(text.size(), text.find(' ', word));
}

// Lines of text for the trainer, made as it asks for them.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string_view>& texts) : texts_(texts) { Next(); }

  bool done() const override { return done_; }
  void Next() override {
    for (; number_ < texts_.size(); ++number_, at_ = 0) {
      const std::string_view text = texts_[number_];
      while (at_ < text.size()) {
        const std::size_t size = sentence_size(text.substr(at_));
        sentence_ = text.substr(at_, size);
        at_ += std::max<std::size_t>(size, 1);
        if (size > 0) return;
      }
    }
    done_ = true;
  }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  static std::size_t sentence_size(std::string_view text) {
    const std::size_t size = plain_size(text.substr(0, kMaxSentenceBytes));
    if (size < text.size() && size + 4 > kMaxSentenceBytes)  // too long: cut before a word
      if (const std::size_t space = text.substr(0, size).rfind(' ');
          space != 0 && space != std::string_view::npos)
        return space;
    return size;
  }

  const std::vector<std::string_view>& texts_;
  std::size_t number_ = 0;
  std::size_t at_ = 0;
  std::string sentence_;
  bool done_ = false;
};

}  // namespace

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

SentencePieceTokenizer::SentencePieceTokenizer(std::string model, const std::string& where)
    : model_(std::move(model)), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const auto settings = read_sentencepiece_settings(model_);
  if (!settings) throw UserError(where, "is no whole SentencePiece model", "bring back a good copy");
  if (const auto status = processor_->LoadFromSerializedProto(model_); !status.ok())
    throw UserError(where, std::string("is no SentencePiece model: ") + status.message(),
                    "bring back a good copy");
  read_pieces();

  const bool is_exact = !settings->has_rules && settings->marks_spaces && !settings->trims_spaces;
  const bool is_raw = is_exact && !settings->adds_prefix && has_all_bytes_ && !pieces_have_controls_;
  if (pieces_join_words_) {
    unit_ = Unit::kText;
  } else if (is_raw) {
    unit_ = Unit::kRawWord;
  } else if (settings->adds_prefix && settings->trims_spaces) {
    unit_ = Unit::kWord;
  } else if (settings->adds_prefix && is_exact) {
    unit_ = Unit::kPrefixedWord;
  }
  if (unit_ == Unit::kRawWord) return;
  losses_ = "what is no UTF-8 and U+2581";
  if (settings->has_rules) losses_ += ", characters that its rules normalize";
  if (settings->trims_spaces) losses_ += ", spaces at the ends and in a row";
  if (!has_all_bytes_) losses_ += ", unknown characters";
  if (settings->adds_prefix) losses_ += "; it puts a space before the text";
}

void SentencePieceTokenizer::read_pieces() {
  token_of_byte_.fill(-1);
  for (int token = 0; token < processor_->GetPieceSize(); ++token) {
    std::string piece = processor_->IdToPiece(token);
    if (processor_->IsByte(token)) {
      unsigned byte = 0;
      if (std::sscanf(piece.c_str(), "<0x%02X>", &byte) == 1) token_of_byte_[byte & 0xFF] = token;
      bytes_.emplace_back(1, static_cast<char>(byte));
      continue;
    }
    if (processor_->IsControl(token) || processor_->IsUnknown(token)) {
      bytes_.emplace_back(processor_->IsUnknown(token) ? " \u2047 " : "");  // as the library decodes them
      continue;
    }
    for (std::size_t at = 0; (at = piece.find(kSpaceSign, at)) != std::string::npos;)
      piece.replace(at, kSpaceSign.size(), " ");
    const std::size_t last_space = piece.rfind(' ');
    pieces_join_words_ |= last_space != std::string::npos && piece.find_first_not_of(' ') < last_space;
    pieces_have_controls_ |= std::any_of(piece.begin(), piece.end(), is_control);
    bytes_.push_back(std::move(piece));
  }
  has_all_bytes_ = std::find(token_of_byte_.begin(), token_of_byte_.end(), -1) == token_of_byte_.end();
}

std::unique_ptr<SentencePieceTokenizer> SentencePieceTokenizer::load(std::string model,
                                                                     std::int64_t end_of_document,
                                                                     const std::string& where) {
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer(std::move(model), where));
  if (end_of_document < 0 || end_of_document >= tokenizer->vocab_size())
    throw UserError(where, "key 'end_of_document' is no token", "bring back a good copy");
  tokenizer->end_of_document_ = static_cast<std::int32_t>(end_of_document);
  return tokenizer;
}

std::unique_ptr<SentencePieceTokenizer> SentencePieceTokenizer::import(std::string model,
                                                                       const std::string& end_of_document,
                                                                       const std::string& where) {
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer(std::move(model), where));
  const auto& processor = *tokenizer->processor_;
  tokenizer->end_of_document_ = processor.eos_id();
  if (!end_of_document.empty()) {
    tokenizer->end_of_document_ = processor.PieceToId(end_of_document);
    if (processor.IdToPiece(tokenizer->end_of_document_) != end_of_document)
      throw UserError("--end-of-document", "'" + end_of_document + "' is no piece of " + where,
                      "name one of its control symbols");
  }
  if (tokenizer->end_of_document_ < 0)
    throw UserError(where, "has no piece that ends a sentence", "name one: --end-of-document PIECE");
  return tokenizer;
}

std::string_view SentencePieceTokenizer::bytes_of(std::int32_t token) const {
  CHECK(token >= 0 && token < vocab_size()) << "token " << token << " is not in the vocabulary";
  return token == end_of_document_ ? std::string_view() : std::string_view(bytes_[token]);
}

std::optional<std::int32_t> SentencePieceTokenizer::mask_token() const {
  for (const std::string_view name : kMaskNames) {
    const int token = processor_->PieceToId({name.data(), name.size()});
    if (!processor_->IsUnknown(token)) return token;
  }
  return std::nullopt;
}

void SentencePieceTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) {
  switch (unit_) {
    case Unit::kText:
      encode_by_library(text, tokens);
      break;
    case Unit::kWord:
      encode_words(text, 0, tokens);
      break;
    case Unit::kPrefixedWord: {
      const std::size_t first = spaced_word_end(text, 0);
      const bool has_more = text.find_first_not_of(' ', first) != std::string_view::npos;
      encode_by_library(has_more ? text.substr(0, first) : text, tokens);
      if (has_more) encode_words(text.substr(first), 1, tokens);
      break;
    }
    case Unit::kRawWord:
      encode_raw(text, tokens);
  }
}

void SentencePieceTokenizer::encode_raw(std::string_view text, std::vector<std::int32_t>& tokens) {
  while (!text.empty()) {
    const std::size_t plain = plain_size(text);
    encode_words(text.substr(0, plain), 0, tokens);
    text.remove_prefix(plain);
    const std::size_t other =
        text.starts_with(kSpaceSign) ? kSpaceSign.size() : std::min<std::size_t>(text.size(), 1);
    for (const char c : text.substr(0, other))
      tokens.push_back(token_of_byte_[static_cast<unsigned char>(c)]);
    text.remove_prefix(other);
  }
}

// Each word without so many spaces before it.
void SentencePieceTokenizer::encode_words(std::string_view text, std::size_t spaces_left_out,
                                          std::vector<std::int32_t>& tokens) {
  const auto encode_unseen = [this](std::string_view word, std::vector<std::int32_t>& appended) {
    encode_by_library(word, appended);
  };
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = spaced_word_end(text, begin);
    // Spaces at the end go with the last word: one alone, left out, would be an empty text to the library.
    if (spaces_left_out > 0 && text.find_first_not_of(' ', end) == std::string_view::npos) end = text.size();
    cache_.encode(text.substr(begin + spaces_left_out, end - begin - spaces_left_out), tokens, encode_unseen);
  }
}

void SentencePieceTokenizer::encode_by_library(std::string_view text,
                                               std::vector<std::int32_t>& tokens) const {
  std::vector<int> ids;
  const auto status = processor_->Encode(text, &ids);
  CHECK(status.ok()) << status.message();
  tokens.insert(tokens.end(), ids.begin(), ids.end());
}

std::size_t SentencePieceTokenizer::safe_cut(std::string_view text) const {
  if (unit_ != Unit::kWord && unit_ != Unit::kRawWord) return 0;
  for (std::size_t i = text.size(); i-- > 1;) {
    if (text[i] == ' ' && text[i - 1] != ' ') return i;
    if (unit_ == Unit::kRawWord && is_control(text[i - 1])) return i;
  }
  return 0;
}

std::optional<Tokenizer::OriginalFile> SentencePieceTokenizer::original_file() const {
  return OriginalFile{"tokenizer.model", model_, processor_->IdToPiece(end_of_document_)};
}

std::string SentencePieceTokenizer::to_json() const {
  return Json{{"format", kTokenizerFormat},
              {"kind", kKind},
              {"end_of_document", end_of_document_},
              {"model", to_base64(model_)}}
             .dump(1) +
         "\n";
}

std::unique_ptr<SentencePieceTokenizer> train_sentencepiece(const std::vector<std::string_view>& texts,
                                                            SentencePieceType type, std::int64_t vocab_size) {
  Sentences sentences(texts);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", type == SentencePieceType::kBpe ? "bpe" : "unigram"},
       {"vocab_size", std::to_string(vocab_size)},
       {"hard_vocab_limit", "false"},  // a small text has fewer
       {"normalization_rule_name", "identity"},
       {"add_dummy_prefix", "false"},
       {"remove_extra_whitespaces", "false"},
       {"allow_whitespace_only_pieces", "true"},  // indentation
       {"byte_fallback", "true"},
       {"num_threads", "16"},  // sums are in the order of threads: not the machine's number of cores
       {"minloglevel", "2"}},
      &sentences, &model);
  if (!status.ok())
    throw UserError("--vocab-size",
                    "SentencePiece can't train " + std::to_string(vocab_size) +
                        " tokens on this text: " + status.message(),
                    "choose more, or another --tokenizer");
  return SentencePieceTokenizer::import(std::move(model), "", "the trained model");
}

}  // namespace trireme
