// What the tests of Hugging Face folders share.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/file.h"
#include "parallel/self_communicator.h"
#include "tests/support/temp_dir.h"
#include "trainer/hugging_face/export.h"
#include "trainer/hugging_face/import.h"
#include "trainer/hugging_face/weights.h"

namespace trireme {

// A folder that golden/make_hugging_face.py has made.
inline std::filesystem::path golden_folder(const std::string& name) {
  return std::filesystem::path(TRIREME_GOLDEN_DIR) / "hugging_face" / name;
}

inline nlohmann::json json_of(const std::filesystem::path& file) {
  return nlohmann::json::parse(std::ifstream(file));
}

inline ImportSummary import_folder(const std::filesystem::path& folder, const std::string& run) {
  SelfCommunicator alone;
  return import_hugging_face({.folder = folder, .run = run}, alone);
}

inline ExportSummary export_run(const std::string& run, const std::string& folder,
                                StoredType type = StoredType::kFloat32, std::int64_t shard_bytes = 1 << 30) {
  SelfCommunicator alone;
  return export_hugging_face({.model = run, .folder = folder, .type = type, .shard_bytes = shard_bytes},
                             alone);
}

// All tensors, widened to float32.
inline std::map<std::string, std::vector<float>> tensors_of(const std::filesystem::path& folder) {
  const HuggingFaceWeights weights(folder);
  std::map<std::string, std::vector<float>> tensors;
  for (const std::string& name : weights.names()) {
    std::vector<float>& values = tensors[name];
    values.resize(static_cast<std::size_t>(weights.entry(name).num_elements));
    weights.read(name, 0, values);
  }
  return tensors;
}

// The bytes of each tensor in a folder's files, as they lie there.
inline std::map<std::string, std::string> bytes_of_tensors(const std::filesystem::path& folder) {
  std::map<std::string, std::string> bytes;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".safetensors") continue;
    const std::string contents = read_whole_file(file.path());
    const SafetensorsFile header(file.path());
    for (const auto& [name, entry] : header.tensors()) {
      bytes[name] = contents.substr(static_cast<std::size_t>(entry.begin),
                                    static_cast<std::size_t>(entry.end - entry.begin));
    }
  }
  return bytes;
}

}  // namespace trireme
