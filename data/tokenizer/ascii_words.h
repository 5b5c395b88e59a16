// The usual regular expressions of tokenizers, by hand for text of ASCII: several times as fast.
#pragma once

#include <cstddef>
#include <string_view>

namespace trireme {

enum class WordRule {
  kNone,
  kGpt2,    // kGpt2Pattern
  kLlama3,  // digits in threes, marks with the line ends behind them
  kQwen2,   // as kLlama3, but each digit by itself
};

// The end of the match that begins at `begin`; `begin` itself if what lies there isn't all ASCII, or is
// followed by what isn't.  REQUIRES: begin < text.size(), a rule.
std::size_t ascii_word_end(WordRule rule, std::string_view text, std::size_t begin);

}  // namespace trireme
