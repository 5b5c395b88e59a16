#include "tests/vgpu/ptx/lexer.h"

#include "tests/vgpu/report.h"

namespace trireme::vgpu::ptx {
namespace {

// Of ASCII; without the calls that <cctype> makes for each of millions of characters.
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
constexpr bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
         c == '%' || c == '.';
}

}  // namespace

Token Lexer::next() {
  const Token token = token_;
  advance();
  return token;
}

bool Lexer::take(std::string_view mark) {
  if (!token_.is(mark)) return false;
  advance();
  return true;
}

void Lexer::expect(std::string_view mark) {
  if (!take(mark)) fail(vgpu::text("'", mark, "' expected before '", token_.text, "'"));
}

void Lexer::fail(const std::string& what) const {
  refuse(vgpu::text("PTX line ", token_.line, ": ", what));
}

void Lexer::skip_blanks() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '\n') ++line_;
    if (is_blank(c)) {
      ++at_;
    } else if (text_.substr(at_, 2) == "//") {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (text_.substr(at_, 2) == "/*") {
      const size_t end = std::min(text_.find("*/", at_), text_.size() - 2) + 2;
      for (; at_ < end; ++at_) line_ += text_[at_] == '\n';
    } else {
      return;
    }
  }
}

void Lexer::advance() {
  skip_blanks();
  token_.line = line_;
  const size_t begin = at_;
  if (at_ == text_.size()) {
    token_.kind = Token::Kind::kEnd;
    token_.text = "";
    return;
  }
  const char first = text_[at_++];
  if (first == '"') {
    at_ = std::min(text_.find('"', at_), text_.size() - 1) + 1;
    token_.kind = Token::Kind::kString;
    token_.text = text_.substr(begin + 1, at_ - begin - 2);
    return;
  }
  token_.kind = Token::Kind::kMark;
  if (is_word(first)) {
    token_.kind = is_digit(first) ? Token::Kind::kNumber : Token::Kind::kWord;
    while (at_ < text_.size()) {
      if (first == '.' && text_[at_] == '.') break;  // .reg.b32: two directives
      if (is_word(text_[at_]))
        ++at_;
      else if (text_.substr(at_, 2) == "::")  // ld.global.L2::128B
        at_ += 2;
      else
        break;
    }
  }
  token_.text = text_.substr(begin, at_ - begin);
}

}  // namespace trireme::vgpu::ptx
