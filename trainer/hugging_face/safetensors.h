// Files of tensors as Hugging Face's `safetensors` writes them: eight bytes with the length of a header, the
// header, which is JSON with each tensor's name, type, shape and place, and the elements, row by row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "data/durable_file.h"
#include "data/file.h"

namespace trireme {

// Of the elements that a model can be made of, and all others, which are only passed over.
enum class StoredType : std::uint8_t { kFloat32, kBFloat16, kFloat16, kOther };

std::string to_string(const std::vector<std::int64_t>& shape);  // "[2, 3]"

class SafetensorsFile {
 public:
  struct Entry {
    StoredType type = StoredType::kOther;
    std::vector<std::int64_t> shape;
    std::int64_t num_elements = 0;
    std::int64_t begin = 0;  // bytes of the file
    std::int64_t end = 0;
  };

  // Reads the header and checks it: sizes that fit the shapes, no gap and no overlap, and a file that is as
  // long as it says.  Throws UserError.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, Entry>& tensors() const { return tensors_; }

  // Elements `first` and on, as float32, to which no value of the three types is rounded.  REQUIRES: one of
  // them.
  void read(const Entry& entry, std::int64_t first, std::span<float> out) const;

 private:
  File file_;
  std::map<std::string, Entry> tensors_;
};

// Writes one; elements are given in the order of the list.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    std::vector<std::int64_t> shape;
  };

  SafetensorsWriter(const std::filesystem::path& path, const std::vector<Entry>& entries, StoredType type);

  // The next elements, rounded to the nearest of the type, to even where two are as near.
  void write(std::span<const float> elements);
  // REQUIRES: all were written.  Then the file has its name, and survives a power cut.
  void commit();

 private:
  DurableFile file_;
  StoredType type_;
  std::int64_t end_ = 0;   // of what is written
  std::int64_t size_ = 0;  // of the whole file
  std::vector<std::byte> converted_;
};

}  // namespace trireme
