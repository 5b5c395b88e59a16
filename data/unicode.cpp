#include "data/unicode.h"

#include <cstdint>
#include <cstring>

namespace trireme {
namespace {

constexpr bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

struct Character {
  char32_t code = 0;
  std::size_t num_bytes = 1;
};

constexpr char32_t kNoCharacter = 0xFFFFFFFF;

Character first_character(std::string_view text) {
  const auto byte_at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte_at(0);
  if (first < 0x80) return {first, 1};
  const std::size_t num_bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < num_bytes) return {kNoCharacter, 1};
  char32_t code = first & (0x7Fu >> num_bytes);
  for (std::size_t i = 1; i < num_bytes; ++i) {
    if ((byte_at(i) & 0xC0) != 0x80) return {kNoCharacter, 1};
    code = code << 6 | (byte_at(i) & 0x3F);
  }
  const bool is_overlong = code < (num_bytes == 3 ? 0x800u : num_bytes == 4 ? 0x10000u : 0x80u);
  const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (is_overlong || is_surrogate || code > 0x10FFFF) return {kNoCharacter, 1};
  return {code, num_bytes};
}

}  // namespace

std::size_t character_bytes(std::string_view text) {
  return first_character(text).num_bytes;
}

std::size_t valid_utf8_size(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size()) {
    std::uint64_t eight = 0;
    if (size + sizeof(eight) <= text.size()) std::memcpy(&eight, text.data() + size, sizeof(eight));
    if (size + sizeof(eight) <= text.size() && (eight & 0x8080808080808080u) == 0) {  // all of them ASCII
      size += sizeof(eight);
      continue;
    }
    const Character character = first_character(text.substr(size));
    if (character.code == kNoCharacter) return size;
    size += character.num_bytes;
  }
  return size;
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while ((static_cast<std::uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

std::size_t white_space_bytes(std::string_view text) {
  if (text.empty()) return 0;
  const Character character = first_character(text);
  return is_white_space(character.code) ? character.num_bytes : 0;
}

std::string_view without_trailing_space(std::string_view text) {
  std::size_t end = 0;  // of the last character that is no white space
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t space = white_space_bytes(text.substr(i));
    i += space > 0 ? space : character_bytes(text.substr(i));
    if (space == 0) end = i;
  }
  return text.substr(0, end);
}

std::string_view trimmed(std::string_view text) {
  while (const std::size_t space = white_space_bytes(text)) text.remove_prefix(space);
  return without_trailing_space(text);
}

}  // namespace trireme
