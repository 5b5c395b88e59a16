#include "data/utf8.h"

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

}  // namespace trireme
