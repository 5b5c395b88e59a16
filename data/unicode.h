// The characters of UTF-8 text.
#pragma once

#include <cstddef>
#include <string_view>

namespace trireme {

// Bytes of the character that the text begins with.  A byte that begins no character (RFC 3629) counts as one
// by itself.  REQUIRES: the text isn't empty.
std::size_t character_bytes(std::string_view text);

// How many bytes at the beginning of the text are whole characters.
std::size_t valid_utf8_size(std::string_view text);

// REQUIRES: the text is UTF-8 and not empty.
std::string_view last_character(std::string_view text);

// Bytes of the white space character that the text begins with; 0 if it begins with something else.  White
// space is what Python's str.split() cuts at: Unicode's property White_Space, and the separators U+001C to
// U+001F.
std::size_t white_space_bytes(std::string_view text);

// Without the white space at its end.
std::string_view without_trailing_space(std::string_view text);
// Without the white space at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace trireme
