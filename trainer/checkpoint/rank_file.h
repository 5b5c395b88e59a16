// One rank's file of a checkpoint: a slice of every tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "data/hdf5_file.h"
#include "parallel/flat_range.h"
#include "trainer/checkpoint/manifest.h"

namespace trireme {

// rank_00000_of_00002.h5
std::string rank_file_name(int rank, int num_ranks);

// Writes one, tensor after tensor.
class RankFileWriter {
 public:
  // `record` has the file's name, and which elements of every tensor it is to hold.
  RankFileWriter(const std::filesystem::path& folder, const CheckpointManifest& manifest,
                 CheckpointManifest::File record);

  void begin_tensor(const std::string& name);
  void append(std::span<const float> elements);
  // Brings the file to the disk and returns its record, now complete.  REQUIRES: all tensors are.
  CheckpointManifest::File commit();

 private:
  const std::filesystem::path path_;
  CheckpointManifest::File record_;
  Hdf5Writer writer_;
};

// Checks the size of the file and all of its bytes but the elements.  HDF5 is not asked: it only gets to see
// files that have passed.  Throws UserError.
void check_frame(const std::filesystem::path& folder, const CheckpointManifest::File& file);

// Reads all of a checkpoint and compares it with its checksums, of the blocks and of the whole tensors.
// Throws UserError.
void check_every_byte(const std::filesystem::path& folder, const CheckpointManifest& manifest);

// Reads elements that lie in any number of files, one file open at a time, and checks them.
class CheckpointReader {
 public:
  // Both outlive the reader.  Throws UserError, as read() does, if the files are not all of a checkpoint.
  CheckpointReader(const std::filesystem::path& folder, const CheckpointManifest& manifest);

  void read(const std::string& tensor, const FlatRange& range, std::span<float> out);

 private:
  const std::filesystem::path& folder_;
  const CheckpointManifest& manifest_;
  const CheckpointManifest::File* open_ = nullptr;
  std::optional<Hdf5Reader> reader_;  // of the file that is open
};

}  // namespace trireme
