// XXH3 checksums, of whole memory and by blocks: they find bits that changed on a disk or on a wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct XXH3_state_s;

namespace trireme {

// A file's data is checksummed in blocks of this many bytes, the last one shorter, so that a part of it can
// be checked without reading the rest: the first row that touches a block pays for reading all of it.
inline constexpr std::int64_t kChecksumBlockBytes = std::int64_t{64} << 10;

constexpr std::int64_t num_checksum_blocks(std::int64_t size_bytes) {
  return (size_bytes + kChecksumBlockBytes - 1) / kChecksumBlockBytes;
}

// The 64-bit XXH3 of the bytes, with its default secret and seed 0.
std::uint64_t checksum_of(std::span<const std::byte> bytes);
std::uint64_t checksum_of(std::string_view text);

// Sixteen hexadecimal digits: how checksums and identities are written in JSON.
std::string to_hex(std::uint64_t value);

// The checksums of the blocks of a stream of bytes that arrives in pieces of any size.
class BlockChecksums {
 public:
  BlockChecksums();
  ~BlockChecksums();

  void update(std::span<const std::byte> bytes);
  // Closes the last block and hands out all; the object then starts anew.
  std::vector<std::uint64_t> finish();

 private:
  struct FreeState {
    void operator()(XXH3_state_s* state) const;
  };

  std::unique_ptr<XXH3_state_s, FreeState> state_;
  std::int64_t bytes_in_block_ = 0;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace trireme
