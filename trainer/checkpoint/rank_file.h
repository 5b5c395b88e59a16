// One rank's file of a checkpoint: a slice of every tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/checkpoint/manifest.h"

namespace trireme {

// Elements [begin, end) of [0, size) that rank `rank` of `num_ranks` writes, or reads.
struct Slice {
  std::int64_t begin;
  std::int64_t end;
};
Slice slice_of(std::int64_t size, int rank, int num_ranks);

// rank_00000_of_00002.h5
std::string rank_file_name(int rank, int num_ranks);

// Checksum of the checksums of a tensor's blocks.
std::uint64_t checksum_of_tensor(const Tensor& values);

// Writes a rank's slice into `folder`, brings it to the disk and returns its record.
CheckpointManifest::File write_rank_file(const std::filesystem::path& folder,
                                         const CheckpointContents& contents, int rank, int num_ranks);

// Checks the size of the file and all of its bytes but the elements.  HDF5 is not asked: it only gets to see
// files that have passed.  Throws UserError.
void check_frame(const std::filesystem::path& folder, const CheckpointManifest::File& file);

// Reads all of a checkpoint and compares it with its checksums, of the blocks and of the whole tensors.
// Throws UserError.
void check_every_byte(const std::filesystem::path& folder, const CheckpointManifest& manifest);

// Fills `slice` of every tensor, which lies in any number of files, and checks what it reads.  Throws
// UserError.
void read_slice(const std::filesystem::path& folder, const CheckpointManifest& manifest, const Slice& slice,
                const std::vector<CheckpointTensor>& tensors);

}  // namespace trireme
