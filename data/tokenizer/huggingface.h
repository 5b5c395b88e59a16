// Byte-level BPE of Hugging Face's `tokenizers`: GPT-2, Llama 3, Qwen and their relatives, from
// tokenizer.json.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/merge_table.h"
#include "data/tokenizer/split_pattern.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/word_cache.h"

namespace trireme {

// What a tokenizer.json says, as far as it has a say in which tokens a text becomes.  "post_processor",
// "truncation" and "padding" have none here: who joins documents does it by the token that ends them.
struct HuggingFaceFile {
  struct MergedPair {
    TokenPair pair;
    std::int32_t token = 0;
  };

  // Throws a UserError that names the key for what is wrong or not supported.
  static HuggingFaceFile parse(const std::string& text, const std::string& where);

  // The token that ends a document: the one that is written `name`, or if that is empty one of the usual
  // ones. A UserError if there is none.
  std::int32_t find_end_of_document(const std::string& name, const std::string& where) const;

  std::string text;                             // the file itself
  std::vector<std::string> bytes;               // that each token stands for; of gaps in the numbers, nothing
  std::vector<bool> is_word;                    // tokens that can come of words, by number
  std::array<std::int32_t, 256> token_of_byte;  // what a word is before it is merged
  std::vector<MergedPair> merges;
  bool whole_words_first = false;      // "ignore_merges"
  bool composes = false;               // normalizes to NFC
  std::vector<SplitPattern> patterns;  // each cuts what the one before it has left
  std::vector<AddedToken> added_tokens;
};

// encode() gives what the `tokenizers` package gives without its special tokens around the text; the numbers
// of the tokens are the file's.  Added tokens are found where the text spells them out, the end of a document
// among them.  Bytes that are no UTF-8, which the package doesn't take, are words by themselves.
//
// decode(encode(bytes)) == bytes, but for: NFC, if the file asks for it (Qwen); white space beside added
// tokens with "lstrip" or "rstrip"; an end of a document that the text spells out, which becomes nothing.
class HuggingFaceTokenizer final : public Tokenizer {
 public:
  static constexpr const char* kKind = "huggingface";

  HuggingFaceTokenizer(HuggingFaceFile file, std::int32_t end_of_document);

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) override;
  std::string_view bytes_of(std::int32_t token) const override;
  int vocab_size() const override { return static_cast<int>(file_.bytes.size()); }
  std::int32_t end_of_document() const override { return end_of_document_; }
  std::optional<std::int32_t> mask_token() const override;
  std::size_t safe_cut(std::string_view text) const override;
  std::string kind() const override { return kKind; }
  std::string losses() const override;
  std::string to_json() const override;
  std::optional<OriginalFile> original_file() const override {
    return OriginalFile{"tokenizer.json", file_.text,
                        file_.bytes[static_cast<std::size_t>(end_of_document_)]};
  }

 private:
  void encode_utf8(std::string_view text, std::vector<std::int32_t>& tokens);
  void split(std::size_t pattern, std::string_view part, std::vector<std::int32_t>& tokens);
  void encode_word(std::string_view word, std::vector<std::int32_t>& tokens);

  HuggingFaceFile file_;
  std::int32_t end_of_document_;
  MergeTable table_;
  AddedTokens raw_tokens_;                                    // found in the text as it is
  AddedTokens normalized_tokens_;                             // found after normalization
  std::unordered_map<std::string_view, std::int32_t> words_;  // by their bytes, if whole ones go first
  bool can_cut_before_space_ = false;
  std::vector<std::int32_t> symbols_;  // of the word that is being merged
  WordCache cache_;
};

}  // namespace trireme
