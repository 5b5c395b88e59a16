#include "data/utf8.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace trireme {

void Utf8Checker::update(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size() && valid_;) {
    std::uint64_t eight = 0;
    if (num_missing_ == 0 && i + sizeof(eight) <= bytes.size()) {
      std::memcpy(&eight, bytes.data() + i, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {  // all of them ASCII
        i += sizeof(eight);
        continue;
      }
    }
    const auto byte = static_cast<std::uint8_t>(bytes[i++]);
    if (num_missing_ > 0) {
      valid_ = byte >= low_ && byte <= high_;
      --num_missing_;
      low_ = 0x80;
      high_ = 0xBF;
    } else if (byte >= 0x80) {
      valid_ = byte >= 0xC2 && byte <= 0xF4;
      num_missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
      if (byte == 0xE0) low_ = 0xA0;   // else overlong
      if (byte == 0xED) high_ = 0x9F;  // else a surrogate
      if (byte == 0xF0) low_ = 0x90;   // else overlong
      if (byte == 0xF4) high_ = 0x8F;  // else beyond the last character
    }
  }
}

bool Utf8Checker::finish() {
  const bool valid = valid_ && num_missing_ == 0;
  *this = Utf8Checker();
  return valid;
}

std::size_t valid_utf8_size(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size()) {
    std::uint64_t eight = 0;
    if (size + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, text.data() + size, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        size += sizeof(eight);
        continue;
      }
    }
    const int ones = std::countl_one(static_cast<std::uint8_t>(text[size]));
    const std::size_t character = ones == 0 ? 1 : static_cast<std::size_t>(ones);
    if (character > text.size() - size) return size;
    Utf8Checker checker;
    checker.update(text.substr(size, character));
    if (!checker.finish()) return size;
    size += character;
  }
  return size;
}

std::string_view first_character(std::string_view text) {
  const int ones = std::countl_one(static_cast<std::uint8_t>(text.front()));
  return text.substr(0, ones == 0 ? 1 : static_cast<std::size_t>(ones));
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while ((static_cast<std::uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

bool is_white_space(std::string_view character) {
  using namespace std::string_view_literals;
  if (character.size() == 1) return character == " " || (character >= "\t" && character <= "\r");
  static constexpr std::array kOthers = {"\u0085"sv, "\u00A0"sv, "\u1680"sv, "\u2028"sv,
                                         "\u2029"sv, "\u202F"sv, "\u205F"sv, "\u3000"sv};
  return std::find(kOthers.begin(), kOthers.end(), character) != kOthers.end() ||
         (character.size() == 3 && character >= "\u2000"sv && character <= "\u200A"sv);
}

}  // namespace trireme
