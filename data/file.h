// A file by its descriptor, read and written at given places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace trireme {

// Owns the descriptor.  What the system refuses is a UserError that names the file and what to do about it.
class File {
 public:
  static File open(const std::filesystem::path& path);
  // REFUSES a name that exists.
  static File create(const std::filesystem::path& path);

  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  // Fills `out` from the place `offset`; a file that ends before is an error.
  void read_at(std::int64_t offset, std::span<std::byte> out) const;
  // As far as the file goes; returns the number of bytes read.
  std::size_t read_some(std::int64_t offset, std::span<std::byte> out) const;
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);
  // Takes the disk space of the first `size_bytes` now, where the file system can, so that a full disk shows
  // before the work and not in its middle.  The file's size stays.
  void reserve(std::int64_t size_bytes);
  // Lets the system begin to write what has been given so far, and doesn't wait for it.
  void start_writeback(std::int64_t offset, std::int64_t size_bytes);
  void sync();

  std::int64_t size_bytes() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  File(int descriptor, std::filesystem::path path);

  int descriptor_ = -1;
  std::filesystem::path path_;
};

// Throws a UserError for the `errno` of an operation on `path`: "cannot ACTION: REASON" and a remedy; a full
// disk is named with the space that is left.
[[noreturn]] void throw_system_error(const std::filesystem::path& path, const std::string& action,
                                     int error_number);

// The whole contents of a small file.
std::string read_whole_file(const std::filesystem::path& path);

}  // namespace trireme
