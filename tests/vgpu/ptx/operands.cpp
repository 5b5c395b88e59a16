#include "tests/vgpu/ptx/operands.h"

#include <bit>
#include <charconv>

#include "tests/vgpu/report.h"

namespace trireme::vgpu::ptx {
namespace {

Operand address(Lexer& in) {
  Operand result;
  result.form = Operand::Form::kAddress;
  if (in.peek().kind == Token::Kind::kWord) {
    result.name = in.next().text;
    if (in.take("+"))
      result.displacement = static_cast<int64_t>(parse_integer(in));
    else if (in.peek().is("-"))
      result.displacement = static_cast<int64_t>(parse_integer(in));
  } else {
    result.displacement = static_cast<int64_t>(parse_integer(in));
  }
  in.expect("]");
  return result;
}

Operand list(Lexer& in) {
  Operand result;
  result.form = Operand::Form::kVector;
  const std::string_view end = in.next().is("{") ? "}" : ")";
  while (!in.take(end)) {
    result.elements.push_back(parse_operand(in));
    in.take(",");
  }
  return result;
}

Operand simple_operand(Lexer& in) {
  Operand result;
  if (in.take("[")) return address(in);
  if (in.peek().is("{") || in.peek().is("(")) return list(in);
  if (in.take("!")) result.negated = true;
  if (in.peek().kind == Token::Kind::kNumber || in.peek().is("-")) return parse_number(in);
  if (in.take("_")) {
    result.form = Operand::Form::kSink;
    return result;
  }
  if (in.peek().kind != Token::Kind::kWord) in.fail(text("operand expected before '", in.peek().text, "'"));
  result.name = in.next().text;
  if (in.take("+")) result.displacement = static_cast<int64_t>(parse_integer(in));  // mov.u64 %rd1, symbol+8
  return result;
}

}  // namespace

uint64_t parse_integer(Lexer& in) {
  const bool negative = in.take("-");
  const Token token = in.next();
  std::string_view digits = token.text;
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    base = 16;
    digits.remove_prefix(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  if (digits.ends_with('U')) digits.remove_suffix(1);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size())
    in.fail(text("'", token.text, "' is no integer"));
  return negative ? 0 - value : value;
}

Operand parse_number(Lexer& in) {
  Operand result;
  const std::string_view word = in.peek().text;
  if (word.size() == 10 && (word.starts_with("0f") || word.starts_with("0F"))) {
    result.form = Operand::Form::kFloat32;
  } else if (word.size() == 18 && (word.starts_with("0d") || word.starts_with("0D"))) {
    result.form = Operand::Form::kFloat64;
  } else if (word.find('.') != std::string_view::npos) {
    result.form = Operand::Form::kFloat64;
    result.bits = std::bit_cast<uint64_t>(std::stod(std::string(in.next().text)));
    return result;
  } else {
    result.form = Operand::Form::kInteger;
    result.bits = parse_integer(in);
    return result;
  }
  const std::string_view digits = in.next().text.substr(2);
  std::from_chars(digits.data(), digits.data() + digits.size(), result.bits, 16);
  return result;
}

Operand parse_operand(Lexer& in) {
  Operand result = simple_operand(in);
  if (in.take("|")) {
    Operand pair;
    pair.form = Operand::Form::kPair;
    pair.elements = {std::move(result), simple_operand(in)};
    return pair;
  }
  return result;
}

}  // namespace trireme::vgpu::ptx
