// Subwords by the SentencePiece library: unigram language model (Kudo 2018) or byte pairs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/word_cache.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace trireme {

// The tokens are the library's, except that words which no piece can join are encoded one by one: the library
// adds up the scores of the whole text in single precision and chooses badly in long ones.
//
// decode(encode(bytes)) == bytes for models that train_sentencepiece() has made: bytes that are no UTF-8,
// control characters, which the library drops or can't train on, and its own sign for a space (U+2581) become
// tokens of bytes.  Models of others may lose: what their rules normalize (NFKC), spaces at the ends and in a
// row, characters they don't know; most put a space before the text.  losses() says which.
class SentencePieceTokenizer final : public Tokenizer {
 public:
  static constexpr const char* kKind = "sentencepiece";

  // A model file's contents.  A UserError at `where` if they are no model, or the end is no token of it.
  static std::unique_ptr<SentencePieceTokenizer> load(std::string model, std::int64_t end_of_document,
                                                      const std::string& where);
  // `end_of_document` is a piece; if empty, the model's own end of a sentence.
  static std::unique_ptr<SentencePieceTokenizer> import(std::string model, const std::string& end_of_document,
                                                        const std::string& where);
  ~SentencePieceTokenizer() override;

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) override;
  std::string_view bytes_of(std::int32_t token) const override;
  int vocab_size() const override { return static_cast<int>(bytes_.size()); }
  std::int32_t end_of_document() const override { return end_of_document_; }
  std::optional<std::int32_t> mask_token() const override;
  std::size_t safe_cut(std::string_view text) const override;
  std::string kind() const override { return kKind; }
  std::string losses() const override { return losses_; }
  std::string to_json() const override;
  std::optional<OriginalFile> original_file() const override;

 private:
  // What may be encoded by itself.
  enum class Unit {
    kText,          // only the whole
    kWord,          // words, with the spaces before them
    kPrefixedWord,  // words, without one space before them, as the library adds one
    kRawWord,       // words, and the bytes that are no part of words
  };

  SentencePieceTokenizer(std::string model, const std::string& where);
  void read_pieces();
  void encode_raw(std::string_view text, std::vector<std::int32_t>& tokens);
  void encode_words(std::string_view text, std::size_t spaces_left_out, std::vector<std::int32_t>& tokens);
  void encode_by_library(std::string_view text, std::vector<std::int32_t>& tokens) const;

  std::string model_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<std::string> bytes_;  // that each token stands for
  std::array<std::int32_t, 256> token_of_byte_;
  bool has_all_bytes_ = false;
  bool pieces_join_words_ = false;
  bool pieces_have_controls_ = false;
  std::string losses_;
  Unit unit_ = Unit::kText;
  std::int32_t end_of_document_ = -1;
  WordCache cache_;
};

enum class SentencePieceType { kUnigram, kBpe };

// The model trained on the texts; the same each time.  It has `vocab_size` tokens, fewer if the texts have no
// more pieces.  A UserError if `vocab_size` is too small for the characters of the texts.
std::unique_ptr<SentencePieceTokenizer> train_sentencepiece(const std::vector<std::string_view>& texts,
                                                            SentencePieceType type, std::int64_t vocab_size);

}  // namespace trireme
