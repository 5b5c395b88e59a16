#include "data/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "data/unicode.h"

namespace trireme {
namespace {

// Letters, marks, digits and what joins words: \w of Unicode's UTS 18.
constexpr const char* kWordCharacter =
    "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\u200C\u200D\u24B6-\u24E9\U0001F130-\U0001F149"
    "\U0001F150-\U0001F169\U0001F170-\U0001F189]";

// Of the white space that the text begins with, which the package takes to be what has the property
// White_Space.
std::size_t stripped_bytes(std::string_view text) {
  const bool is_separator = !text.empty() && text.front() >= '\x1C' && text.front() <= '\x1F';
  return is_separator ? 0 : white_space_bytes(text);
}

std::uint8_t first_byte(const AddedToken& token) {
  return static_cast<std::uint8_t>(token.content.front());
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), word_character_(kWordCharacter, "added tokens") {
  for (const AddedToken& token : tokens_) CHECK(!token.content.empty());
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return first_byte(a) != first_byte(b) ? first_byte(a) < first_byte(b)
                                          : a.content.size() > b.content.size();
  });
  for (const AddedToken& token : tokens_) {
    begins_token_[first_byte(token)] = true;
    // A token with a space inside could lie over the cut; one that begins with it could follow a word.
    const std::size_t last_space = token.content.rfind(' ');
    const bool has_space_inside =
        last_space != std::string::npos && token.content.find_first_not_of(' ') < last_space;
    crosses_into_space_ |= has_space_inside || (token.single_word && token.content.front() == ' ');
  }
}

bool AddedTokens::allow_cut_before_space(char before) const {
  return !crosses_into_space_ && std::none_of(tokens_.begin(), tokens_.end(), [&](const AddedToken& token) {
    return token.rstrip && token.content.back() == before;
  });
}

// The first token in the text from `from` on; white space before `done` isn't taken.
AddedTokens::Found AddedTokens::find(std::string_view text, std::size_t from, std::size_t done) const {
  for (std::size_t i = from; i < text.size(); ++i) {
    if (!begins_token_[static_cast<std::uint8_t>(text[i])]) continue;
    const AddedToken* const token = longest_at(text, i);
    if (token == nullptr) continue;
    Found found = {token->id, i, i + token->content.size(), i + token->content.size()};
    if (token->single_word && is_inside_word(text, found.begin, found.end)) {
      i = found.end - 1;
      continue;
    }
    if (token->lstrip) {
      while (found.begin > done) {
        const std::string_view character = last_character(text.substr(0, found.begin));
        if (stripped_bytes(character) == 0) break;
        found.begin -= character.size();
      }
    }
    if (token->rstrip) {
      while (const std::size_t space = stripped_bytes(text.substr(found.end))) found.end += space;
    }
    return found;
  }
  return {};
}

const AddedToken* AddedTokens::longest_at(std::string_view text, std::size_t place) const {
  const auto byte = static_cast<std::uint8_t>(text[place]);
  auto token = std::lower_bound(tokens_.begin(), tokens_.end(), byte,
                                [](const AddedToken& a, std::uint8_t b) { return first_byte(a) < b; });
  for (; token != tokens_.end() && first_byte(*token) == byte; ++token)
    if (text.substr(place).starts_with(token->content)) return &*token;
  return nullptr;
}

bool AddedTokens::is_inside_word(std::string_view text, std::size_t begin, std::size_t end) const {
  const auto is_word = [&](std::string_view character) { return word_character_.find(character, 0).end > 0; };
  return (begin > 0 && is_word(last_character(text.substr(0, begin)))) ||
         (end < text.size() && is_word(text.substr(end, character_bytes(text.substr(end)))));
}

}  // namespace trireme
