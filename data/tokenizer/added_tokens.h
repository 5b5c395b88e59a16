// Tokens that are found in the text before it is cut into words, as in "added_tokens" of tokenizer.json.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/split_pattern.h"

namespace trireme {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;       // not empty
  bool single_word = false;  // not found inside a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // is looked for in the normalized text
};

// Of tokens that begin at the same place the longest is found, of those that overlap the first.
class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // Calls, from left to right, on_text(part) for the text between the tokens and on_token(id).
  // REQUIRES: the text is UTF-8.
  template <typename OnText, typename OnToken>
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const {
    std::size_t done = 0;
    for (Found found = find(text, 0, done); found.id >= 0; found = find(text, found.resume, done)) {
      if (found.begin > done) on_text(text.substr(done, found.begin - done));
      on_token(found.id);
      done = found.end;
    }
    if (done < text.size()) on_text(text.substr(done));
  }

  // Whether a text may be cut between `before`, a character of ASCII that isn't white space, and the space
  // that follows, with the same tokens found in the two parts.
  bool allow_cut_before_space(char before) const;

 private:
  struct Found {
    std::int32_t id = -1;  // none
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t resume = 0;  // where to look for the next
  };
  Found find(std::string_view text, std::size_t from, std::size_t done) const;
  const AddedToken* longest_at(std::string_view text, std::size_t place) const;
  bool is_inside_word(std::string_view text, std::size_t begin, std::size_t end) const;

  std::vector<AddedToken> tokens_;        // by first byte, longer ones first
  std::array<bool, 256> begins_token_{};  // whether a token begins with the byte
  SplitPattern word_character_;
  bool crosses_into_space_ = false;
};

}  // namespace trireme
