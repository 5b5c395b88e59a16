// All tensors of a Hugging Face folder, in one file or in several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "trainer/hugging_face/safetensors.h"

namespace trireme {

class HuggingFaceWeights {
 public:
  // Opens model.safetensors or, where the model is sharded, the files that model.safetensors.index.json
  // names. Throws UserError naming the file that is missing or broken, or the tensor that is not where the
  // index says.
  explicit HuggingFaceWeights(const std::filesystem::path& folder);

  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return places_.contains(name); }
  // Of these, REQUIRES: contains(name).
  const SafetensorsFile::Entry& entry(const std::string& name) const;
  void read(const std::string& name, std::int64_t first, std::span<float> out) const;

 private:
  void open_shards(const std::filesystem::path& folder, const std::filesystem::path& index);

  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> places_;  // in which of the files each tensor is
};

}  // namespace trireme
