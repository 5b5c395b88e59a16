// Is this UTF-8?
#pragma once

#include <cstdint>
#include <string_view>

namespace trireme {

// Looks at a text that comes in pieces, which may end inside a character.  Overlong forms, surrogates and
// what is beyond U+10FFFF are no UTF-8 (RFC 3629).
class Utf8Checker {
 public:
  void update(std::string_view bytes);
  // Whether all since the last call was UTF-8.
  bool finish();

 private:
  int num_missing_ = 0;      // continuation bytes of the character begun
  std::uint8_t low_ = 0x80;  // what the next of them may be
  std::uint8_t high_ = 0xBF;
  bool valid_ = true;
};

}  // namespace trireme
