#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::vgpu::ptx {

struct Token {
  enum class Kind { kWord, kNumber, kString, kMark, kEnd };
  Kind kind = Kind::kEnd;
  std::string_view text;  // a string without its quotes
  uint32_t line = 1;

  bool is(std::string_view mark) const { return kind != Kind::kString && text == mark; }
};

// Cuts PTX into words (opcodes with their modifiers, registers, directives), numbers, strings and single
// marks.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) { advance(); }

  const Token& peek() const { return token_; }
  Token next();

  // Takes the mark or word if it is next.
  bool take(std::string_view mark);
  // The same, but refuses the text if something else is next.
  void expect(std::string_view mark);

  [[noreturn]] void fail(const std::string& what) const;

 private:
  void advance();
  void skip_blanks();

  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  Token token_;
};

}  // namespace trireme::vgpu::ptx
