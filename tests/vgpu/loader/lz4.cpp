#include "tests/vgpu/loader/lz4.h"

namespace trireme::vgpu {
namespace {

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool at_end() const { return next_ == bytes_.size(); }
  bool failed() const { return failed_; }

  uint8_t byte() {
    if (at_end()) {
      failed_ = true;
      return 0;
    }
    return bytes_[next_++];
  }

  // A length whose first four bits were in the token: 15 means that bytes follow, up to one below 255.
  size_t length(size_t nibble) {
    size_t length = nibble;
    if (nibble == 15) {
      uint8_t more;
      do {
        more = byte();
        length += more;
      } while (more == 255);
    }
    return length;
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t next_ = 0;
  bool failed_ = false;
};

}  // namespace

std::optional<std::string> decompress_lz4(std::span<const uint8_t> block, size_t size) {
  constexpr size_t kShortestMatch = 4;
  Reader in(block);
  std::string out;
  out.reserve(size);
  while (!in.at_end()) {
    const uint8_t token = in.byte();
    const size_t num_literals = in.length(token >> 4);
    if (out.size() + num_literals > size) return std::nullopt;
    for (size_t i = 0; i < num_literals; ++i) out.push_back(static_cast<char>(in.byte()));
    if (in.at_end()) break;  // the last sequence has no match
    size_t distance = in.byte();
    distance |= static_cast<size_t>(in.byte()) << 8;
    const size_t match = in.length(token & 15) + kShortestMatch;
    if (in.failed() || distance == 0 || distance > out.size() || out.size() + match > size)
      return std::nullopt;
    for (size_t i = 0; i < match; ++i) out.push_back(out[out.size() - distance]);
  }
  if (in.failed() || out.size() != size) return std::nullopt;
  return out;
}

}  // namespace trireme::vgpu
