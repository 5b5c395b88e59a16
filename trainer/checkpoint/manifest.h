// manifest.json: what a checkpoint holds, and how to know that it is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint.h"

namespace trireme {

struct CheckpointManifest {
  // One rank's file.  It holds elements [begin, end) of every tensor.
  struct File {
    std::string name;
    std::int64_t size_bytes = 0;
    std::int64_t begin = 0;
    std::int64_t end = 0;
    // Where each tensor's elements lie in the file, in bytes; unused when begin == end.
    std::map<std::string, std::int64_t> offsets;
    // Of all bytes but the elements: HDF5's structures and the checksums of the elements' blocks.
    std::uint64_t frame_checksum = 0;

    bool operator==(const File&) const = default;
  };
  struct TensorRecord {
    std::string name;
    std::uint64_t checksum = 0;  // checksum_of_tensor(), taken before anything was written

    bool operator==(const TensorRecord&) const = default;
  };

  TrainState state;
  std::string model_json;
  std::int64_t num_elements = 0;  // of each tensor
  std::vector<TensorRecord> tensors;
  std::vector<CheckpointEntry> layout;
  std::vector<File> files;

  std::string to_json() const;
  // Throws UserError naming `path` if the text is not, to the byte, what to_json() gave.
  static CheckpointManifest from_json(const std::string& text, const std::filesystem::path& path);
};

inline constexpr const char* kManifestName = "manifest.json";

// Reads the manifest of a checkpoint's folder and checks that its files are there in their full size, without
// reading them.  Throws UserError.
CheckpointManifest read_manifest(const std::filesystem::path& folder);

// What distinguishes two models, as a sentence's part ("heads is 12 in the checkpoint and 16 in the config"),
// other than by `changeable` keys.
std::optional<std::string> first_difference(const std::string& checkpoint_json,
                                            const std::string& config_json,
                                            const std::vector<std::string>& changeable);

}  // namespace trireme
