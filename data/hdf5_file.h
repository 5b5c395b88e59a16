// HDF5 files of flat arrays, whole or absent, with every byte checksummed: shards and checkpoints.
//
// An array "x" is a contiguous dataset, little-endian, beside which stands "x_xxh3": the XXH3 checksums of
// its blocks of kChecksumBlockBytes; attribute "checksum_block_bytes" says how large they are.  Those
// that Hdf5Reader reads have one dimension; for other programs there may be more.  Small facts are attributes
// of the root group.  HDF5 is asked for names, types and places only; the numbers are read and written by
// pread and pwrite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "data/checksum.h"
#include "data/durable_file.h"
#include "data/file.h"

namespace trireme {

enum class ElementType : std::uint8_t { kUInt8, kUInt16, kUInt32, kUInt64, kInt32, kFloat32 };

std::int64_t size_bytes(ElementType type);
const char* to_string(ElementType type);

template <typename T>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<T, std::uint8_t>)
    return ElementType::kUInt8;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return ElementType::kUInt16;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return ElementType::kUInt32;
  else if constexpr (std::is_same_v<T, std::uint64_t>)
    return ElementType::kUInt64;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return ElementType::kInt32;
  else {
    static_assert(std::is_same_v<T, float>, "not an element of our files");
    return ElementType::kFloat32;
  }
}

// An open file of HDF5's, closed with it.
class Hdf5Handle {
 public:
  explicit Hdf5Handle(std::int64_t id) : id_(id) {}
  ~Hdf5Handle();
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;

  std::int64_t id() const { return id_; }
  std::int64_t release() { return std::exchange(id_, -1); }

 private:
  std::int64_t id_;
};

// Writes one file, under a temporary name until commit().
//
//     Hdf5Writer writer("rank_00000.h5");
//     writer.set_attribute("format", "...");
//     writer.write<float>("parameters", values);     // or begin_array, then append as it comes
//     writer.commit();
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::filesystem::path& path);

  void set_attribute(const std::string& name, const std::string& value);
  void set_attribute(const std::string& name, std::int64_t value);

  // An array of exactly `size` elements, filled by append() in pieces.  A disk too full for it is found here.
  // REQUIRES: the array before is complete.
  void begin_array(const std::string& name, ElementType type, std::int64_t size) {
    begin_array(name, type, std::span<const std::int64_t>(&size, 1));
  }
  // The same of more dimensions, row-major.  A name "group/x" makes the group.
  void begin_array(const std::string& name, ElementType type, std::span<const std::int64_t> shape);
  template <typename T>
  void append(std::span<const T> values) {
    append_bytes(element_type<T>(), std::as_bytes(values));
  }
  template <typename T>
  void write(const std::string& name, std::span<const T> values) {
    begin_array(name, element_type<T>(), static_cast<std::int64_t>(values.size()));
    append(values);
  }

  // A whole array of texts: UTF-8, padded with zeros to the longest.
  void write_texts(const std::string& name, std::span<const std::string> texts);

  // REQUIRES: the last array is complete.
  void commit(IfExists if_exists = IfExists::kRefuse);

 private:
  void append_bytes(ElementType type, std::span<const std::byte> bytes);
  void create_dataset(const std::string& name, std::int64_t hdf5_type, std::span<const std::int64_t> shape);
  void finish_array();

  DurableFile file_;
  Hdf5Handle hdf5_file_;
  // The array being written.
  std::string name_;
  ElementType type_ = ElementType::kUInt8;
  std::int64_t offset_ = 0;  // where the next bytes go
  std::int64_t end_ = 0;
  BlockChecksums checksums_;
  bool array_is_open_ = false;
};

// Opens one file for reading.  What doesn't fit is a UserError that names the file: no HDF5 file, cut short,
// an array that is missing or of another type, bytes that don't match their checksum.
class Hdf5Reader {
 public:
  explicit Hdf5Reader(const std::filesystem::path& path);

  bool has_attribute(const std::string& name) const;
  std::string text_attribute(const std::string& name) const;
  std::int64_t integer_attribute(const std::string& name) const;

  struct Array {
    ElementType type = ElementType::kUInt8;
    std::int64_t size = 0;    // elements
    std::int64_t offset = 0;  // of its first byte in the file
    std::int64_t size_bytes() const { return size * trireme::size_bytes(type); }
  };
  bool has_array(const std::string& name) const;
  Array array(const std::string& name) const;
  // The checksums of the array's blocks; none if the file was written without them.
  std::vector<std::uint64_t> checksums(const std::string& name) const;

  // Elements [begin, begin + out.size()).  Every block touched is read whole and checked.
  template <typename T>
  void read(const std::string& name, std::int64_t begin, std::span<T> out) const {
    read_bytes(name, element_type<T>(), begin, std::as_writable_bytes(out));
  }
  template <typename T>
  std::vector<T> read_all(const std::string& name) const {
    std::vector<T> values(static_cast<std::size_t>(array(name).size));
    read(name, 0, std::span<T>(values));
    return values;
  }
  // Reads the whole array and checks it.
  void verify(const std::string& name) const;

  const File& file() const { return file_; }

 private:
  void read_bytes(const std::string& name, ElementType type, std::int64_t begin,
                  std::span<std::byte> out) const;
  [[noreturn]] void fail(const std::string& what, const std::string& remedy) const;

  File file_;
  Hdf5Handle hdf5_file_;
};

// Throws the UserError for a block of the array `name` in `file` that doesn't have its checksum.
[[noreturn]] void throw_corrupt_block(const std::filesystem::path& file, const std::string& name,
                                      std::int64_t block);

}  // namespace trireme
