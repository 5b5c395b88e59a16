// The bytes of a file from its beginning to its end, unpacked on the way if it is gzip or zstd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace trireme {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  // Fills `out` as far as the stream goes; fewer bytes mean its end.  A damaged or shortened archive is a
  // UserError.
  virtual std::size_t read(std::span<char> out) = 0;
  // How far into the file, as it lies on the disk, reading has come.
  virtual std::int64_t file_position() const = 0;
};

// What the file is is told by its first bytes, not by its name.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

}  // namespace trireme
