#include "data/tokenizer/words.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace trireme {
namespace {

enum class CharClass : std::uint8_t { kMark, kLetter, kDigit, kSpace };

constexpr std::array<CharClass, 256> kClasses = [] {
  std::array<CharClass, 256> classes{};
  for (int c = 0; c < 256; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    classes[c] = letter                 ? CharClass::kLetter
                 : c >= '0' && c <= '9' ? CharClass::kDigit
                 : space                ? CharClass::kSpace
                                        : CharClass::kMark;
  }
  return classes;
}();

CharClass class_of(char c) {
  return kClasses[static_cast<unsigned char>(c)];
}

// The end of the run that goes on at `position`, no later than `limit`.
std::size_t run_end(std::string_view text, std::size_t position, std::size_t limit, CharClass char_class) {
  while (position < limit && class_of(text[position]) == char_class) ++position;
  return position;
}

// A word cut by its limit doesn't end inside a UTF-8 character, if the bytes are UTF-8 at all.
std::size_t between_characters(std::string_view text, std::size_t begin, std::size_t end) {
  const auto is_continuation = [&](std::size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  std::size_t earlier = end;
  while (end - earlier < 3 && earlier > begin + 1 && is_continuation(earlier)) --earlier;
  return is_continuation(earlier) ? end : earlier;
}

}  // namespace

std::size_t word_end(std::string_view text, std::size_t begin) {
  const std::size_t limit = std::min(text.size(), begin + kMaxWordBytes);
  std::size_t first = begin;  // what decides about the word
  if (class_of(text[begin]) == CharClass::kSpace) {
    const std::size_t end = run_end(text, begin, std::min(text.size(), limit + 1), CharClass::kSpace);
    if (end > limit || end == text.size()) return std::min(end, limit);
    if (text[end - 1] != ' ') return end;
    if (end - begin > 1) return end - 1;
    first = end;
  }
  CharClass char_class = class_of(text[first]);
  const bool inside_word = first == begin && begin > 0 && class_of(text[begin - 1]) == CharClass::kLetter;
  if (text[first] == '\'' && inside_word && begin + 1 < text.size() &&
      class_of(text[begin + 1]) == CharClass::kLetter) {
    ++first;
    char_class = CharClass::kLetter;
  }
  const std::size_t end = run_end(text, first, limit, char_class);
  return end == limit ? between_characters(text, begin, end) : end;
}

std::size_t last_word_border(std::string_view text) {
  for (std::size_t i = text.size(); i-- > 1;)
    if (class_of(text[i]) == CharClass::kSpace && class_of(text[i - 1]) != CharClass::kSpace) return i;
  return 0;
}

}  // namespace trireme
