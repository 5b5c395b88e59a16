#include <charconv>
#include <optional>
#include <system_error>
#include <utility>

#include "data/gettext.h"
#include "data/line_reader.h"
#include "data/unicode.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 24;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// An entry as far as it has been read.  Forms but the first are read and forgotten.
struct Entry {
  bool is_fuzzy = false;
  std::optional<std::string> context;
  std::optional<std::string> original;
  std::optional<std::string> translation;
  bool has_translation = false;  // any form
  std::string forgotten;
};

class PoParser {
 public:
  PoParser(ByteStream& stream, const std::string& where, const OnMessage& on_message)
      : lines_(stream), file_(where), on_message_(on_message) {}

  UnusedMessages parse() {
    for (std::string_view line; lines_.next(line, kMaxLineBytes);) {
      ++line_number_;
      if (line.size() >= kMaxLineBytes) fail("the line is longer than 16 MiB", "cut it");
      if (line_number_ == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
      line = trimmed(line);
      if (line.starts_with('#')) {
        comment(line);
      } else if (line.starts_with('"')) {
        if (open_string_ == nullptr) fail("a string follows no keyword");
        append_string(line);
      } else if (!line.empty()) {
        keyword(line);
      }
    }
    ++line_number_;
    finish_entry();
    return unused_;
  }

 private:
  void comment(std::string_view line) {
    finish_entry_if_translated();
    if (line.starts_with("#~")) {
      const std::string_view rest = trimmed(line.substr(2));
      if (!rest.starts_with("msgid \"") && !rest.starts_with("msgid\"")) return;
      ++unused_.obsolete;
      entry_.is_fuzzy = false;  // the mark was the obsolete entry's
    } else if (line.starts_with("#,") && line.find("fuzzy") != std::string_view::npos) {
      entry_.is_fuzzy = true;
    }
  }

  void keyword(std::string_view line) {
    const std::string_view word = line.substr(0, line.find_first_of(" \t\""));
    const std::string_view rest = trimmed(line.substr(word.size()));
    if (word == "msgctxt" || word == "msgid" || word == "domain") finish_entry_if_translated();
    if (word == "msgctxt") {
      open_string_ = &begin_string(entry_.context);
    } else if (word == "msgid") {
      open_string_ = &begin_string(entry_.original);
    } else if (word == "msgid_plural") {
      if (!entry_.original || entry_.has_translation) fail("msgid_plural follows no msgid");
      open_string_ = &entry_.forgotten;
    } else if (word == "msgstr" || word.starts_with("msgstr[")) {
      if (!entry_.original) fail("msgstr follows no msgid");
      entry_.has_translation = true;
      const bool is_first = word == "msgstr" || word == "msgstr[0]";
      open_string_ = is_first ? &begin_string(entry_.translation) : &entry_.forgotten;
    } else if (word == "domain") {
      open_string_ = &entry_.forgotten;
    } else {
      fail("'" + std::string(word.substr(0, 40)) + "' is no keyword of a .po file");
    }
    append_string(rest);
  }

  std::string& begin_string(std::optional<std::string>& field) {
    if (field) fail("the entry has two of the same keyword");
    return field.emplace();
  }

  // Appends what stands between the quotes, its escapes resolved.
  void append_string(std::string_view quoted) {
    if (quoted.size() < 2 || !quoted.starts_with('"') || !quoted.ends_with('"'))
      fail("a string is not in quotes");
    quoted.remove_prefix(1);
    quoted.remove_suffix(1);
    while (!quoted.empty()) {
      const char c = quoted.front();
      quoted.remove_prefix(1);
      if (c == '"') fail("a quote inside a string lacks its backslash");
      *open_string_ += c == '\\' ? escaped(quoted) : c;
    }
  }

  // Takes what follows a backslash.
  char escaped(std::string_view& text) {
    if (text.empty()) fail("a string is not closed");
    const char c = text.front();
    if (c >= '0' && c <= '7') return take_number(text, 8, 3);
    text.remove_prefix(1);
    if (c == 'x') return take_number(text, 16, 2);
    static constexpr std::string_view kLetters = "abfnrtv\\\"";
    static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\\"";
    const std::size_t at = kLetters.find(c);
    if (at == std::string_view::npos) fail(std::string("the escape \\") + c + " is unknown");
    return kMeanings[at];
  }

  char take_number(std::string_view& text, int base, std::size_t max_digits) {
    int value = 0;
    const std::string_view candidates = text.substr(0, max_digits);
    const auto [end, error] =
        std::from_chars(candidates.data(), candidates.data() + candidates.size(), value, base);
    if (error != std::errc() || candidates.starts_with('-')) fail("the escape \\x lacks its digits");
    text.remove_prefix(static_cast<std::size_t>(end - candidates.data()));
    return static_cast<char>(value);
  }

  void finish_entry_if_translated() {
    if (entry_.has_translation) finish_entry();
  }

  void finish_entry() {
    if ((entry_.original || entry_.context) && !entry_.has_translation) fail("an entry has no msgstr");
    const Entry entry = std::exchange(entry_, Entry());
    open_string_ = nullptr;
    if (!entry.original || (entry.original->empty() && !entry.context)) return;  // no entry, or the header
    if (entry.is_fuzzy) {
      ++unused_.fuzzy;
    } else {
      on_message_(*entry.original, entry.translation.value_or(""));
    }
  }

  [[noreturn]] void fail(
      const std::string& what,
      const std::string& remedy = "correct it; msgfmt --check of GNU gettext says more") const {
    throw UserError(file_ + ":" + std::to_string(line_number_), what, remedy);
  }

  LineReader lines_;
  const std::string& file_;
  const OnMessage& on_message_;
  std::int64_t line_number_ = 0;
  Entry entry_;
  std::string* open_string_ = nullptr;  // of entry_: where lines of mere strings go
  UnusedMessages unused_;
};

}  // namespace

UnusedMessages read_po(ByteStream& stream, const std::string& where, const OnMessage& on_message) {
  return PoParser(stream, where, on_message).parse();
}

}  // namespace trireme
