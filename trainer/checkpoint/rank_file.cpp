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

void check_no_gaps(const std::filesystem::path& folder, const CheckpointManifest& manifest) {
  std::int64_t end = 0;
  for (const CheckpointManifest::File& file : manifest.files) {
    if (file.begin != end || file.end < end)
      fail(folder / kManifestName, "lists files that do not follow each other");
    end = file.end;
  }
  if (end != manifest.num_elements) fail(folder / kManifestName, "lists files that leave a gap");
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

RankFileWriter::RankFileWriter(const std::filesystem::path& folder, const CheckpointManifest& manifest,
                               CheckpointManifest::File record)
    : path_(folder / record.name), record_(std::move(record)), writer_(path_) {
  writer_.set_attribute("format", "trireme checkpoint, part");
  writer_.set_attribute("step", manifest.state.step);
  writer_.set_attribute("num_elements", manifest.num_elements);
  writer_.set_attribute("begin", record_.begin);
  writer_.set_attribute("end", record_.end);
}

void RankFileWriter::begin_tensor(const std::string& name) {
  writer_.begin_array(name, ElementType::kFloat32, record_.end - record_.begin);
  record_.offsets[name] = 0;
}

void RankFileWriter::append(std::span<const float> elements) {
  writer_.append(elements);
}

CheckpointManifest::File RankFileWriter::commit() {
  writer_.commit();
  const Hdf5Reader reader(path_);
  for (auto& [name, offset] : record_.offsets) offset = reader.array(name).offset;
  record_.size_bytes = reader.file().size_bytes();
  record_.frame_checksum = frame_checksum(reader.file(), record_);
  return record_;
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
  check_no_gaps(folder, manifest);
  for (const CheckpointManifest::File& file : manifest.files) check_frame(folder, file);
  for (const CheckpointManifest::TensorRecord& tensor : manifest.tensors) {
    BlockChecksums checksums;
    for (const CheckpointManifest::File& file : manifest.files) {
      const Hdf5Reader reader(folder / file.name);
      check_array(reader, file, tensor.name);
      update(checksums, reader, tensor.name);
    }
    if (checksum_of_blocks(checksums) != tensor.checksum)
      fail(folder, "holds other " + tensor.name + " than were to be saved");
  }
}

CheckpointReader::CheckpointReader(const std::filesystem::path& folder, const CheckpointManifest& manifest)
    : folder_(folder), manifest_(manifest) {
  check_no_gaps(folder, manifest);
}

void CheckpointReader::read(const std::string& tensor, const FlatRange& range, std::span<float> out) {
  for (const CheckpointManifest::File& file : manifest_.files) {
    const FlatRange common{std::max(range.begin, file.begin), std::min(range.end, file.end)};
    if (common.begin >= common.end) continue;
    if (open_ != &file) {
      check_frame(folder_, file);
      reader_.emplace(folder_ / file.name);
      open_ = &file;
    }
    check_array(*reader_, file, tensor);
    reader_->read(tensor, common.begin - file.begin,
                  out.subspan(static_cast<std::size_t>(common.begin - range.begin),
                              static_cast<std::size_t>(common.size())));
  }
}

}  // namespace trireme
