#include "trainer/checkpoint/rank_file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <span>
#include <string>

#include "data/hdf5_file.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::int64_t kPieceElements = 1 << 22;  // read at a time where all is read

std::span<float> elements(const Tensor& values, const Slice& slice) {
  return {values.data<float>() + slice.begin, static_cast<std::size_t>(slice.end - slice.begin)};
}

// The checksum of what lies outside the elements of the tensors.
std::uint64_t frame_checksum(const File& file, const CheckpointManifest::File& record) {
  std::map<std::int64_t, std::int64_t> arrays;  // offset -> size, in bytes
  if (record.begin < record.end) {
    for (const auto& [name, offset] : record.offsets)
      arrays[offset] = (record.end - record.begin) * size_bytes(DType::kFloat32);
  }
  arrays[file.size_bytes()] = 0;
  std::vector<std::byte> frame;
  std::int64_t begin = 0;
  for (const auto& [offset, size] : arrays) {
    if (offset > begin) {
      const auto count = static_cast<std::size_t>(offset - begin);
      frame.resize(frame.size() + count);
      file.read_at(begin, std::span(frame).last(count));
    }
    begin = offset + size;
  }
  return checksum_of(frame);
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw UserError(path.string(), what, "bring back a good copy, or delete the checkpoint");
}

void check_array(const Hdf5Reader& reader, const CheckpointManifest::File& file, const std::string& tensor) {
  if (reader.array(tensor).size != file.end - file.begin)
    fail(reader.file().path(), "holds another part of " + tensor + " than the manifest says");
}

// Adds a file's part of a tensor to the checksums of the whole.
void update(BlockChecksums& checksums, const Hdf5Reader& reader, const std::string& tensor) {
  std::vector<float> piece;
  const std::int64_t size = reader.array(tensor).size;
  for (std::int64_t begin = 0; begin < size; begin += kPieceElements) {
    piece.resize(static_cast<std::size_t>(std::min(kPieceElements, size - begin)));
    reader.read(tensor, begin, std::span(piece));
    checksums.update(std::as_bytes(std::span(piece)));
  }
}

std::uint64_t checksum_of_blocks(BlockChecksums& checksums) {
  const std::vector<std::uint64_t> of_blocks = checksums.finish();
  return checksum_of(std::as_bytes(std::span(of_blocks)));
}

}  // namespace

std::string rank_file_name(int rank, int num_ranks) {
  std::array<char, 48> name{};
  std::snprintf(name.data(), name.size(), "rank_%05d_of_%05d.h5", rank, num_ranks);
  return name.data();
}

Slice slice_of(std::int64_t size, int rank, int num_ranks) {
  const std::int64_t share = size / num_ranks;
  const std::int64_t longer = size % num_ranks;  // this many ranks have one more
  const auto begin_of = [&](std::int64_t r) { return r * share + std::min(r, longer); };
  return {begin_of(rank), begin_of(rank + 1)};
}

std::uint64_t checksum_of_tensor(const Tensor& values) {
  BlockChecksums checksums;
  checksums.update(std::as_bytes(elements(values, {0, values.num_elements()})));
  return checksum_of_blocks(checksums);
}

CheckpointManifest::File write_rank_file(const std::filesystem::path& folder,
                                         const CheckpointContents& contents, int rank, int num_ranks) {
  const std::int64_t num_elements = contents.tensors.front().values.num_elements();
  const Slice slice = slice_of(num_elements, rank, num_ranks);
  CheckpointManifest::File record{
      .name = rank_file_name(rank, num_ranks), .begin = slice.begin, .end = slice.end};
  const std::filesystem::path path = folder / record.name;

  Hdf5Writer writer(path);
  writer.set_attribute("format", "trireme checkpoint, part");
  writer.set_attribute("step", contents.state.step);
  writer.set_attribute("num_elements", num_elements);
  writer.set_attribute("begin", slice.begin);
  writer.set_attribute("end", slice.end);
  for (const CheckpointTensor& tensor : contents.tensors)
    writer.write<float>(tensor.name, elements(tensor.values, slice));
  writer.commit();

  const Hdf5Reader reader(path);
  for (const CheckpointTensor& tensor : contents.tensors)
    record.offsets[tensor.name] = reader.array(tensor.name).offset;
  record.size_bytes = reader.file().size_bytes();
  record.frame_checksum = frame_checksum(reader.file(), record);
  return record;
}

void check_frame(const std::filesystem::path& folder, const CheckpointManifest::File& file) {
  const File contents = File::open(folder / file.name);
  if (contents.size_bytes() != file.size_bytes) {
    fail(contents.path(), "has " + std::to_string(contents.size_bytes()) + " bytes instead of the " +
                              std::to_string(file.size_bytes) + " in the manifest");
  }
  if (frame_checksum(contents, file) != file.frame_checksum)
    fail(contents.path(), "is corrupt: HDF5's own structures are not what was written");
}

void check_every_byte(const std::filesystem::path& folder, const CheckpointManifest& manifest) {
  for (const CheckpointManifest::File& file : manifest.files) check_frame(folder, file);
  for (const CheckpointManifest::TensorRecord& tensor : manifest.tensors) {
    BlockChecksums checksums;
    std::int64_t end = 0;
    for (const CheckpointManifest::File& file : manifest.files) {
      const Hdf5Reader reader(folder / file.name);
      check_array(reader, file, tensor.name);
      update(checksums, reader, tensor.name);
      if (file.begin != end) fail(folder / kManifestName, "lists files that leave a gap");
      end = file.end;
    }
    if (end != manifest.num_elements || checksum_of_blocks(checksums) != tensor.checksum)
      fail(folder, "holds other " + tensor.name + " than were to be saved");
  }
}

void read_slice(const std::filesystem::path& folder, const CheckpointManifest& manifest, const Slice& slice,
                const std::vector<CheckpointTensor>& tensors) {
  std::int64_t num_found = 0;
  for (const CheckpointManifest::File& file : manifest.files) {
    const Slice common{std::max(slice.begin, file.begin), std::min(slice.end, file.end)};
    if (common.begin >= common.end) continue;
    check_frame(folder, file);
    const Hdf5Reader reader(folder / file.name);
    for (const CheckpointTensor& tensor : tensors) {
      check_array(reader, file, tensor.name);
      reader.read(tensor.name, common.begin - file.begin, elements(tensor.values, common));
    }
    num_found += common.end - common.begin;
  }
  if (num_found != slice.end - slice.begin) fail(folder / kManifestName, "lists files that leave a gap");
}

}  // namespace trireme
