// The regular expressions by which tokenizers cut text into words.  The one pair of files that knows PCRE2.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "data/tokenizer/ascii_words.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace trireme {

// An expression as tokenizer.json files have them, in the dialect of Oniguruma.  Taken are literals, escapes,
// classes, \p{general category}, \s, \d, groups, looking ahead and behind, and quantifiers.  These mean the
// same in PCRE2, but for \s, and for letters, numbers and marks that are newer than its Unicode: both are
// translated.  All else is refused, as it may mean something else.
//
// find() works in memory of the object: one thread at a time.
class SplitPattern {
 public:
  // A UserError at `where`, if the expression has something that isn't taken or can match nothing.
  SplitPattern(std::string_view expression, const std::string& where);
  ~SplitPattern();
  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;

  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;  // equal if there is none
  };
  // The first match that begins at `from` or later.  REQUIRES: the text is UTF-8.
  Match find(std::string_view text, std::size_t from) const;

  // What is known of the expression, for the places where a text may be cut: a match never goes on from what
  // isn't white space into a space; and, for some, one always ends there.
  bool never_crosses_into_space() const { return never_crosses_into_space_; }
  bool always_ends_before_space() const { return rule_ != WordRule::kNone; }

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
    void operator()(pcre2_real_match_data_8* data) const;
  };

  std::string where_;
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::unique_ptr<pcre2_real_match_data_8, Free> match_;
  bool never_crosses_into_space_ = false;
  WordRule rule_ = WordRule::kNone;
};

// GPT-2's expression, which the pre-tokenizer "ByteLevel" has built in.
extern const char* const kGpt2Pattern;
// An expression that matches just this text.
std::string quoted_pattern(std::string_view text);

}  // namespace trireme
