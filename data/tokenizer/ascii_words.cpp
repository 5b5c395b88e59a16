#include "data/tokenizer/ascii_words.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

namespace trireme {
namespace {

enum class Class : std::uint8_t { kMark, kLetter, kDigit, kSpace, kLineEnd, kNotAscii, kEndOfText };

constexpr std::array<Class, 256> kClasses = [] {
  std::array<Class, 256> classes{};
  for (int c = 0; c < 256; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    classes[c] = c >= 0x80                        ? Class::kNotAscii
                 : letter                         ? Class::kLetter
                 : c >= '0' && c <= '9'           ? Class::kDigit
                 : c == '\n' || c == '\r'         ? Class::kLineEnd
                 : c == ' ' || (c >= 9 && c < 14) ? Class::kSpace
                                                  : Class::kMark;
  }
  return classes;
}();

// One match; every function returns its end, or nothing if a byte had a say that isn't ASCII.
class Matcher {
 public:
  using End = std::optional<std::size_t>;

  Matcher(WordRule rule, std::string_view text) : rule_(rule), text_(text) {}

  End match(std::size_t begin) const {
    if (text_[begin] == '\'')
      if (const std::size_t end = contraction_end(begin); end > begin) return end;
    return rule_ == WordRule::kGpt2 ? match_gpt2(begin) : match_llama3(begin);
  }

 private:
  Class class_at(std::size_t place) const {
    return place < text_.size() ? kClasses[static_cast<unsigned char>(text_[place])] : Class::kEndOfText;
  }
  static bool is_white(Class c) { return c == Class::kSpace || c == Class::kLineEnd; }
  static bool is_letter_or_digit(Class c) { return c == Class::kLetter || c == Class::kDigit; }

  // The end of the run of one class.
  End run(std::size_t place, Class run_class, std::size_t limit = SIZE_MAX) const {
    std::size_t size = 0;
    while (size < limit && class_at(place + size) == run_class) ++size;
    if (size < limit && class_at(place + size) == Class::kNotAscii) return {};
    return place + size;
  }

  // 's 't 're 've 'm 'll 'd; Llama 3's in capitals, too.
  std::size_t contraction_end(std::size_t begin) const {
    const auto letter = [&](std::size_t place) {
      const char c = place < text_.size() ? text_[place] : '\0';
      return rule_ != WordRule::kGpt2 && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char first = letter(begin + 1);
    const char second = letter(begin + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return begin + 2;
    const bool is_pair = ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return is_pair ? begin + 3 : begin;
  }

  // \s*[\r\n]+ where the rule has it; else \s+(?!\S)|\s+: a last one before a word is left to it.
  End match_white(std::size_t begin) const {
    std::size_t end = begin;
    std::size_t line_end = begin;
    for (; is_white(class_at(end)); ++end)
      if (class_at(end) == Class::kLineEnd) line_end = end + 1;
    if (class_at(end) == Class::kNotAscii) return {};
    if (rule_ != WordRule::kGpt2 && line_end > begin) return line_end;
    return end == text_.size() ? end : std::max(begin + 1, end - 1);
  }

  End match_gpt2(std::size_t begin) const {
    const std::size_t first = begin + (text_[begin] == ' ' ? 1 : 0);
    const Class c = class_at(first);
    if (c == Class::kNotAscii) return {};
    if (c == Class::kMark || is_letter_or_digit(c)) return run(first, c);
    return match_white(begin);
  }

  End match_llama3(std::size_t begin) const {
    const Class c = class_at(begin);
    if (c == Class::kNotAscii) return {};
    if (c == Class::kLetter) return run(begin, c);
    if (c == Class::kDigit) return run(begin, c, rule_ == WordRule::kLlama3 ? 3 : 1);
    const Class next = class_at(begin + 1);
    if (c != Class::kLineEnd) {
      if (next == Class::kNotAscii) return {};
      if (next == Class::kLetter) return run(begin + 1, next);
    }
    const bool has_space = text_[begin] == ' ';
    if (c == Class::kMark || (has_space && next == Class::kMark)) {
      const End end = run(begin + (has_space ? 1 : 0), Class::kMark);
      if (!end) return {};
      std::size_t line_ends = *end;
      while (class_at(line_ends) == Class::kLineEnd) ++line_ends;
      return line_ends;
    }
    return match_white(begin);
  }

  WordRule rule_;
  std::string_view text_;
};

}  // namespace

std::size_t ascii_word_end(WordRule rule, std::string_view text, std::size_t begin) {
  return Matcher(rule, text).match(begin).value_or(begin);
}

}  // namespace trireme
