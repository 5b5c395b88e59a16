// How BERT cleans a text and cuts it into words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// Of Hugging Face's `tokenizers`: what its BertNormalizer does, in this order.
struct BertNormalizer {
  bool clean_text = true;            // control characters go, white space becomes a space
  bool handle_chinese_chars = true;  // a space on either side of each
  bool strip_accents = true;         // NFD, without its nonspacing marks
  bool lowercase = true;

  // The text is UTF-8.
  std::string normalized(std::string_view text) const;
};

// The words of a text, in order: what lies between white space, each character of punctuation by itself.
std::vector<std::string_view> bert_words(std::string_view text);

}  // namespace trireme
