#include "data/tokenizer/byte.h"

#include <array>

#include <glog/logging.h>

#include "data/json.h"

namespace trireme {
namespace {

constexpr std::array<char, 256> kAllBytes = [] {
  std::array<char, 256> bytes{};
  for (int i = 0; i < 256; ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}();

}  // namespace

std::string_view all_bytes() {
  return {kAllBytes.data(), kAllBytes.size()};
}

void ByteTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) {
  tokens.reserve(tokens.size() + text.size());
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
}

std::string_view ByteTokenizer::bytes_of(std::int32_t token) const {
  CHECK(token >= 0 && token <= kEndOfDocument) << "token " << token << " is not in the vocabulary";
  return token == kEndOfDocument ? std::string_view()
                                 : all_bytes().substr(static_cast<std::size_t>(token), 1);
}

std::string ByteTokenizer::to_json() const {
  return Json{{"format", kTokenizerFormat}, {"kind", kKind}, {"end_of_document", kEndOfDocument}}.dump(1) +
         "\n";
}

}  // namespace trireme
