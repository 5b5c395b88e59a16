#include "data/tokenizer/bert_words.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <memory>

#include <glog/logging.h>
#include <utf8proc.h>

namespace trireme {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// The package knows the categories of Unicode 8.  Between these lie the marks, format characters and
// punctuation that have come since; others in the ranges are of no category that is asked for.
constexpr auto kNewer = std::to_array<Range>(
    {{0x61D, 0x61D},     {0x7FD, 0x7FD},     {0x890, 0x8E2},     {0x9FD, 0x9FE},     {0xA76, 0xA76},
     {0xAFA, 0xAFF},     {0xB55, 0xB55},     {0xC04, 0xC3C},     {0xC77, 0xC77},     {0xC84, 0xC84},
     {0xD00, 0xD00},     {0xD3B, 0xD3C},     {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},
     {0x180F, 0x1886},   {0x1ABF, 0x1ACE},   {0x1B7D, 0x1B7E},   {0x1DF6, 0x1DFB},   {0x2E43, 0x2E5D},
     {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},   {0xA8FF, 0xA8FF},   {0xA9BD, 0xA9BD},   {0x10D24, 0x10F89},
     {0x11070, 0x11074}, {0x110C2, 0x110CD}, {0x111C9, 0x111C9}, {0x111CF, 0x111CF}, {0x1123E, 0x11241},
     {0x1133B, 0x1133B}, {0x11438, 0x1145E}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1182F, 0x11FFF},
     {0x12FF1, 0x13455}, {0x16E97, 0x16F4F}, {0x16FE2, 0x16FE4}, {0x1CF00, 0x1CF46}, {0x1E000, 0x1E4EF},
     {0x1E944, 0x1E95F}});

// That from U+2B920 begins a little late, as it does in the package.
constexpr auto kChinese = std::to_array<Range>({{0x3400, 0x4DBF},
                                                {0x4E00, 0x9FFF},
                                                {0xF900, 0xFAFF},
                                                {0x20000, 0x2A6DF},
                                                {0x2A700, 0x2B73F},
                                                {0x2B740, 0x2B81F},
                                                {0x2B920, 0x2CEAF},
                                                {0x2F800, 0x2FA1F}});

template <std::size_t kCount>
bool is_in(const std::array<Range, kCount>& ranges, char32_t c) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), c,
                                      [](char32_t code, const Range& range) { return code < range.first; });
  return after != ranges.begin() && c <= std::prev(after)->last;
}

utf8proc_category_t category(char32_t c) {
  if (c == 0x166D || c == 0x111C9) return UTF8PROC_CATEGORY_PO;  // these have changed theirs since
  if (c == 0x1734) return UTF8PROC_CATEGORY_MN;
  const utf8proc_category_t found = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return found == UTF8PROC_CATEGORY_CN || is_in(kNewer, c) ? UTF8PROC_CATEGORY_CN : found;
}

// The property White_Space.
bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_removed(char32_t c) {
  if (c == 0 || c == 0xFFFD) return true;
  if (c == '\t' || c == '\n' || c == '\r') return false;
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_CO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return c > 0x20 && c < 0x7F && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

// Takes the first character away.
char32_t next_character(std::string_view& text) {
  utf8proc_int32_t c = 0;
  const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &c);
  CHECK_GT(size, 0) << "no UTF-8";
  text.remove_prefix(static_cast<std::size_t>(size));
  return static_cast<char32_t>(c);
}

void append(char32_t c, std::string& text) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

// What replace(c, result) appends for each character.
template <typename Replace>
std::string replaced(std::string_view text, Replace replace) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) replace(next_character(text), result);
  return result;
}

std::string decomposed(std::string_view text) {
  utf8proc_uint8_t* result = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &result,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(result, &std::free);
  CHECK_GE(size, 0) << utf8proc_errmsg(size);
  return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(size)};
}

void append_lower(char32_t c, std::string& text) {
  if (c == 0x130) {  // the one character whose lower case is two
    text += "i\u0307";
  } else {
    append(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), text);
  }
}

}  // namespace

std::string BertNormalizer::normalized(std::string_view text) const {
  std::string result = replaced(text, [&](char32_t c, std::string& out) {
    if (clean_text && is_removed(c)) return;
    if (clean_text && is_white_space(c)) c = ' ';
    const bool is_apart = handle_chinese_chars && is_in(kChinese, c);
    if (is_apart) out += ' ';
    append(c, out);
    if (is_apart) out += ' ';
  });
  if (strip_accents) {
    result = replaced(decomposed(result), [](char32_t c, std::string& out) {
      if (category(c) != UTF8PROC_CATEGORY_MN) append(c, out);
    });
  }
  return lowercase ? replaced(result, append_lower) : result;
}

std::vector<std::string_view> bert_words(std::string_view text) {
  std::vector<std::string_view> words;
  const char* begin = text.data();  // of the word so far
  const auto end_word = [&](const char* end) {
    if (end > begin) words.emplace_back(begin, static_cast<std::size_t>(end - begin));
  };
  while (!text.empty()) {
    const char* const place = text.data();
    const char32_t c = next_character(text);
    if (is_white_space(c)) {
      end_word(place);
      begin = text.data();
    } else if (is_punctuation(c)) {
      end_word(place);
      begin = place;
      end_word(text.data());
      begin = text.data();
    }
  }
  end_word(text.data());
  return words;
}

}  // namespace trireme
