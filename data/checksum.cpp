#include "data/checksum.h"

#include <algorithm>
#include <utility>

#include <xxhash.h>

namespace trireme {

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t checksum_of(std::string_view text) {
  return XXH3_64bits(text.data(), text.size());
}

std::string to_hex(std::uint64_t value) {
  std::string text(16, '0');
  for (int digit = 15; digit >= 0; --digit, value >>= 4) text[digit] = "0123456789abcdef"[value & 15];
  return text;
}

BlockChecksums::BlockChecksums() : state_(XXH3_createState()) {
  XXH3_64bits_reset(state_.get());
}

BlockChecksums::~BlockChecksums() = default;

void BlockChecksums::FreeState::operator()(XXH3_state_s* state) const {
  XXH3_freeState(state);
}

void BlockChecksums::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t room = static_cast<std::size_t>(kChecksumBlockBytes - bytes_in_block_);
    const auto part = bytes.first(std::min(bytes.size(), room));
    XXH3_64bits_update(state_.get(), part.data(), part.size());
    bytes_in_block_ += static_cast<std::int64_t>(part.size());
    if (bytes_in_block_ == kChecksumBlockBytes) {
      checksums_.push_back(XXH3_64bits_digest(state_.get()));
      XXH3_64bits_reset(state_.get());
      bytes_in_block_ = 0;
    }
    bytes = bytes.subspan(part.size());
  }
}

std::vector<std::uint64_t> BlockChecksums::finish() {
  if (bytes_in_block_ > 0) checksums_.push_back(XXH3_64bits_digest(state_.get()));
  XXH3_64bits_reset(state_.get());
  bytes_in_block_ = 0;
  return std::exchange(checksums_, {});
}

}  // namespace trireme
