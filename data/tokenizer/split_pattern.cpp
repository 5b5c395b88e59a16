#define PCRE2_CODE_UNIT_WIDTH 8

#include "data/tokenizer/split_pattern.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <utility>

#include <glog/logging.h>
#include <pcre2.h>

#include "data/user_error.h"

namespace trireme {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr const char* kRemedy = "this tokenizer can't be used";

// Letters, numbers and marks of Unicode 15 and 16; the PCRE2 of Debian 12 knows 14.  The `tokenizers` package
// knows 16.
constexpr const char* kNewLetters =
    "\\x{1C89}-\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}\\x{10D4A}-\\x{10D65}"
    "\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138B}"
    "\\x{1138E}\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}"
    "\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}"
    "\\x{16100}-\\x{1611D}\\x{16D40}-\\x{16D6C}\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}"
    "\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}\\x{2B739}"
    "\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
constexpr const char* kNewDigits =
    "\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}"
    "\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}"
    "\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}";
constexpr const char* kNewNumbersNoDigits = "\\x{1D2C0}-\\x{1D2D3}";
constexpr const char* kNewMarks =
    "\\x{897}\\x{CF3}\\x{ECE}\\x{10D69}-\\x{10D6D}\\x{10EFC}-\\x{10EFF}\\x{11241}\\x{113B8}-\\x{113C0}"
    "\\x{113C2}\\x{113C5}\\x{113C7}-\\x{113CA}\\x{113CC}-\\x{113D0}\\x{113D2}\\x{113E1}-\\x{113E2}"
    "\\x{11F00}-\\x{11F01}\\x{11F03}\\x{11F34}-\\x{11F3A}\\x{11F3E}-\\x{11F42}\\x{11F5A}\\x{13440}"
    "\\x{13447}-\\x{13455}\\x{1611E}-\\x{1612F}\\x{1E08F}\\x{1E4EC}-\\x{1E4EF}\\x{1E5EE}-\\x{1E5EF}";

// In each of these, what isn't white space is followed by a space in no alternative, and the only look
// ahead is at the end of white space.
struct Known {
  const char* expression;
  WordRule rule;  // with one, a match always ends before that space
};
const std::array kKnown = {
    Known{kGpt2Pattern, WordRule::kGpt2},
    Known{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
          R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
          WordRule::kLlama3},
    Known{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
          R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
          WordRule::kQwen2},
    Known{R"(\p{N})", WordRule::kNone},
    Known{R"(\p{N}+)", WordRule::kNone},
    Known{R"(\p{N}{1,3})", WordRule::kNone},
};

// From Oniguruma's dialect to PCRE2's, character by character.
class Translator {
 public:
  Translator(std::string_view expression, const std::string& where)
      : expression_(expression), where_(where) {}

  std::string translate() {
    while (at_ < expression_.size()) {
      switch (const char c = expression_[at_]) {
        case '\\':
          translate_escape();
          break;
        case '[':
          if (in_class_) refuse("a class within a class");
          begin_class();
          break;
        case ']':
          in_class_ = false;
          take(1);
          break;
        case '&':
          if (in_class_ && next_is("&&")) refuse("an intersection of classes");
          take(1);
          break;
        case '(':
          in_class_ ? take(1) : begin_group();
          break;
        case '}':
          if (!in_class_ && next_is("}+")) refuse("'}+'");
          take(1);
          break;
        case '{':
          if (!in_class_ && !(at_ + 1 < expression_.size() && is_digit(expression_[at_ + 1]))) refuse("'{'");
          take(1);
          break;
        case '^':
        case '$':
        case '.':
          if (!in_class_) refuse(std::string("'") + c + "'");
          take(1);
          break;
        default:
          take(1);
      }
    }
    return std::move(translated_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw UserError(where_,
                    "the regular expression " + std::string(expression_) + " has " + what + " at byte " +
                        std::to_string(at_) + ", which is not supported",
                    kRemedy);
  }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  bool next_is(std::string_view text) const { return expression_.substr(at_).starts_with(text); }
  void take(std::size_t size) {
    translated_ += expression_.substr(at_, size);
    at_ += size;
  }
  void put(std::size_t size, std::string_view translation) {
    translated_ += translation;
    at_ += size;
  }

  void begin_class() {
    in_class_ = true;
    take(1);
    if (next_is("^")) take(1);
    if (next_is("]")) refuse("an empty class");
  }

  void begin_group() {
    for (const std::string_view beginning : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"}) {
      if (!next_is(beginning)) continue;
      take(beginning.size());
      return;
    }
    if (next_is("(?")) refuse("a group of this kind");
    put(1, "(?:");  // what it captures is of no use
  }

  void translate_escape() {
    if (at_ + 1 == expression_.size()) refuse("a '\\' without a character");
    const char escaped = expression_[at_ + 1];
    const std::string_view of_same_meaning = "rntfv";
    if (escaped == 's') return put(2, "\\p{White_Space}");
    if (escaped == 'S') return put(2, "\\P{White_Space}");
    if (escaped == 'd') return put_category(2, "Nd");
    if (escaped == 'p') return translate_category();
    const bool is_mark = static_cast<unsigned char>(escaped) < 0x80 && std::ispunct(escaped) != 0;
    if (!is_mark && of_same_meaning.find(escaped) == std::string_view::npos)
      refuse(std::string("'\\") + escaped + "'");
    take(2);
  }

  void translate_category() {
    constexpr std::array<std::string_view, 7> kCategories = {"L&ultmo", "Mnce", "Ndlo", "Pcdseifo",
                                                             "Smcko",   "Zslp", "Ccfos"};
    const std::size_t close = expression_.find('}', at_);
    const bool in_braces = expression_.substr(at_ + 2).starts_with('{') && close != std::string_view::npos;
    const std::string_view name =
        in_braces ? expression_.substr(at_ + 3, close - at_ - 3) : expression_.substr(at_ + 2, 1);
    const bool is_category =
        std::any_of(kCategories.begin(), kCategories.end(), [&](std::string_view category) {
          return !name.empty() && name[0] == category[0] &&
                 (name.size() == 1 ||
                  (name.size() == 2 && category.find(name[1], 1) != std::string_view::npos));
        });
    const std::size_t size = in_braces ? close + 1 - at_ : 3;
    if (!is_category) refuse("'" + std::string(expression_.substr(at_, size)) + "'");
    put_category(size, std::string(name));
  }

  void put_category(std::size_t size, const std::string& name) {
    std::string news;
    if (name == "L") news = kNewLetters;
    if (name == "M") news = kNewMarks;
    if (name == "N" || name == "Nd") news = kNewDigits;
    if (name == "N") news += kNewNumbersNoDigits;
    const std::string members = "\\p{" + name + "}" + news;
    put(size, in_class_ || news.empty() ? members : "[" + members + "]");
  }

  std::string_view expression_;
  const std::string& where_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string translated_;
};

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

void SplitPattern::Free::operator()(pcre2_code* code) const {
  pcre2_code_free(code);
}

void SplitPattern::Free::operator()(pcre2_match_data* data) const {
  pcre2_match_data_free(data);
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

SplitPattern::SplitPattern(std::string_view expression, const std::string& where) : where_(where) {
  const std::string translated = Translator(expression, where).translate();
  int error = 0;
  PCRE2_SIZE place = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                            PCRE2_UTF | PCRE2_UCP, &error, &place, nullptr));
  if (code_ == nullptr)
    throw UserError(where,
                    "the regular expression " + std::string(expression) + " is wrong: " + message_of(error),
                    "correct it");
  std::uint32_t matches_nothing = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_nothing);
  if (matches_nothing != 0)
    throw UserError(where, "the regular expression " + std::string(expression) + " can match an empty text",
                    kRemedy);
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where there is none, it is slower
  match_.reset(pcre2_match_data_create(1, nullptr));
  CHECK(match_ != nullptr);
  for (const Known& known : kKnown) {
    if (expression != known.expression) continue;
    never_crosses_into_space_ = true;
    rule_ = known.rule;
  }
}

SplitPattern::Match SplitPattern::find(std::string_view text, std::size_t from) const {
  if (rule_ != WordRule::kNone)
    if (const std::size_t end = ascii_word_end(rule_, text, from); end > from) return {from, end};
  const int result = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                 PCRE2_NO_UTF_CHECK, match_.get(), nullptr);
  if (result == PCRE2_ERROR_NOMATCH) return {};
  if (result < 0)
    throw UserError(where_, "the regular expression gives up on this text: " + message_of(result), kRemedy);
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match_.get());
  return {ends[0], ends[1]};
}

std::string quoted_pattern(std::string_view text) {
  std::string expression;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::ispunct(c) != 0) expression += '\\';
    expression += c;
  }
  return expression;
}

}  // namespace trireme
