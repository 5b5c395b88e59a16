// WordPiece, BERT's tokenizer (Schuster & Nakajima 2012; Devlin et al. 2019), from tokenizer.json or
// vocab.txt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/bert_words.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/word_cache.h"

namespace trireme {

struct WordPieceFile {
  static constexpr const char* kModelType = "WordPiece";

  // Of tokenizer.json.  Throws a UserError that names the key for what is wrong or not supported.
  static WordPieceFile parse(const std::string& text, const std::string& where);
  // Of vocab.txt, a token a line.  Such a file doesn't say whether its words are lower case.
  static WordPieceFile parse_vocab(const std::string& text, bool lowercase, const std::string& where);

  // The token of this text; UserError calling it an end of a document if there is none.
  std::int32_t find_end_of_document(const std::string& name, const std::string& where) const;

  std::string text;                 // as tokenizer.json
  std::vector<std::string> tokens;  // as the vocabulary writes them
  std::unordered_map<std::string, std::int32_t> number_of;
  std::string prefix = "##";  // of pieces that continue a word
  std::int32_t unknown = 0;
  std::size_t max_word_characters = 100;  // longer ones are unknown
  std::optional<BertNormalizer> normalizer;
  std::vector<AddedToken> added_tokens;
};

// encode() gives what the `tokenizers` package gives without its special tokens around the text; who needs
// [CLS] and [SEP] around it puts them there.  Bytes that are no UTF-8 are dropped.
//
// decode() puts a space before each word.  It doesn't bring back white space, what the normalizer changes,
// and unknown words.
class WordPieceTokenizer final : public Tokenizer {
 public:
  static constexpr const char* kKind = "wordpiece";

  WordPieceTokenizer(WordPieceFile file, std::int32_t end_of_document);

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) override;
  std::string_view bytes_of(std::int32_t token) const override;
  int vocab_size() const override { return static_cast<int>(file_.tokens.size()); }
  std::int32_t end_of_document() const override { return end_of_document_; }
  Frame frame() const override;
  std::optional<std::int32_t> mask_token() const override;
  std::size_t safe_cut(std::string_view text) const override;
  std::string kind() const override { return kKind; }
  std::string losses() const override;
  std::string to_json() const override;
  std::optional<OriginalFile> original_file() const override;

 private:
  void encode_utf8(std::string_view text, std::vector<std::int32_t>& tokens);
  void encode_words(std::string_view text, std::vector<std::int32_t>& tokens);
  void encode_word(std::string_view word, std::vector<std::int32_t>& tokens);

  WordPieceFile file_;
  std::int32_t end_of_document_;
  AddedTokens raw_tokens_;          // found in the text as it is
  AddedTokens normalized_tokens_;   // found after normalization
  std::vector<std::string> bytes_;  // that each token stands for
  std::string piece_;
  WordCache cache_;
};

}  // namespace trireme
