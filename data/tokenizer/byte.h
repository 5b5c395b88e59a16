// Every byte is a token.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace trireme {

// In all our tokenizers the tokens 0 to 255 are the bytes, and the one after them ends a document.
inline constexpr std::int32_t kEndOfDocument = 256;
inline constexpr const char* kTokenizerFormat = "trireme-tokenizer-1";

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr const char* kKind = "byte";

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) override;
  std::string_view bytes_of(std::int32_t token) const override;
  int vocab_size() const override { return kEndOfDocument + 1; }
  std::int32_t end_of_document() const override { return kEndOfDocument; }
  std::size_t safe_cut(std::string_view text) const override { return text.size(); }
  std::string kind() const override { return kKind; }
  std::string to_json() const override;
};

// The 256 bytes in order, to take pieces of.
std::string_view all_bytes();

}  // namespace trireme
