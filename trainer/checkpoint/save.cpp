#include <span>
#include <string>
#include <system_error>

#include <glog/logging.h>

#include "data/checksum.h"
#include "data/durable_file.h"
#include "data/file.h"
#include "data/user_error.h"
#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/exchange.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/rank_file.h"
#include "trainer/checkpoint/slices.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

// Puts together what this rank writes of each tensor, and what it is to be known by.
std::optional<std::string> gather_tensors(const CheckpointContents& contents, CheckpointManifest& manifest,
                                          RankFileWriter* file, Communicator& communicator) {
  const SliceWindows windows(contents.num_elements, communicator.size());
  for (const CheckpointTensor& tensor : contents.tensors) {
    const auto begin = [&] {
      if (file != nullptr) file->begin_tensor(tensor.name);
    };
    if (auto failure = attempt(begin, communicator)) return failure;
    BlockChecksums checksums;
    const auto take = [&](std::span<const float> elements) {
      checksums.update(std::as_bytes(elements));
      if (file != nullptr) file->append(elements);
    };
    if (auto failure = gather_slices(tensor, contents.layout, windows, take, communicator)) return failure;
    manifest.tensors.push_back(
        {.name = tensor.name,
         .checksum = checksum_of_slices(checksums.finish(), contents.num_elements, communicator)});
  }
  return std::nullopt;
}

// What this step's folder holds, if there is one.  One that is damaged is moved out of the way.
std::optional<CheckpointManifest> find_saved(const fs::path& folder) {
  if (!fs::exists(folder)) return std::nullopt;
  try {
    CheckpointManifest manifest = read_manifest(folder);
    check_every_byte(folder, manifest);
    return manifest;
  } catch (const UserError& error) {
    LOG(WARNING) << error.what() << ": now called " << set_aside(folder).string();
    return std::nullopt;
  }
}

// Makes the folder that is written to.
fs::path make_temporary(const fs::path& folder) {
  std::error_code error;
  if (fs::create_directories(folder.parent_path(), error)) sync_folder(folder.parent_path().parent_path());
  if (error) throw_system_error(folder.parent_path(), "create it", error.value());
  const fs::path temporary = temporary_name(folder);
  fs::create_directory(temporary, error);
  if (error) throw_system_error(temporary, "create it", error.value());
  return temporary;
}

// That the checkpoint of this step that is there already holds the same; rank 0 knows it.
std::optional<std::string> compare(const fs::path& folder, const std::optional<CheckpointManifest>& saved,
                                   const CheckpointContents& contents, CheckpointManifest manifest,
                                   Communicator& communicator) {
  if (auto failure = gather_tensors(contents, manifest, nullptr, communicator)) return failure;
  const auto compare_with_saved = [&] {
    if (!saved || (saved->state == manifest.state && saved->tensors == manifest.tensors)) return;
    throw UserError(folder.string(), "this step was saved before, with other values",
                    "train in a fresh directory, or move it away");
  };
  return attempt(compare_with_saved, communicator);
}

// The records of all ranks' files; offsets included, because ranks with longer slices lay them out otherwise.
std::vector<CheckpointManifest::File> gather_files(const CheckpointManifest::File& mine,
                                                   Communicator& communicator) {
  std::vector<std::uint64_t> numbers{static_cast<std::uint64_t>(mine.size_bytes),
                                     static_cast<std::uint64_t>(mine.begin),
                                     static_cast<std::uint64_t>(mine.end), mine.frame_checksum};
  for (const auto& [name, offset] : mine.offsets) numbers.push_back(static_cast<std::uint64_t>(offset));
  const std::vector<std::uint64_t> all = gather_numbers(numbers, communicator);
  std::vector<CheckpointManifest::File> files(static_cast<std::size_t>(communicator.size()), mine);
  auto next = all.begin();
  for (std::size_t rank = 0; rank < files.size(); ++rank) {
    CheckpointManifest::File& file = files[rank];
    file.name = rank_file_name(static_cast<int>(rank), communicator.size());
    file.size_bytes = static_cast<std::int64_t>(*next++);
    file.begin = static_cast<std::int64_t>(*next++);
    file.end = static_cast<std::int64_t>(*next++);
    file.frame_checksum = *next++;
    for (auto& [name, offset] : file.offsets) offset = static_cast<std::int64_t>(*next++);
  }
  return files;
}

// Writes this rank's slice, completes the manifest and gives the folder its name.
std::optional<std::string> write(const fs::path& temporary, const fs::path& folder,
                                 const CheckpointContents& contents, CheckpointManifest manifest,
                                 Communicator& communicator) {
  const FlatRange slice = slice_of(contents.num_elements, communicator.rank(), communicator.size());
  CheckpointManifest::File mine{.name = rank_file_name(communicator.rank(), communicator.size()),
                                .begin = slice.begin,
                                .end = slice.end};
  std::optional<RankFileWriter> file;
  if (auto failure = attempt([&] { file.emplace(temporary, manifest, mine); }, communicator)) return failure;
  if (auto failure = gather_tensors(contents, manifest, &*file, communicator)) return failure;
  if (auto failure = attempt([&] { mine = file->commit(); }, communicator)) return failure;
  manifest.files = gather_files(mine, communicator);
  const auto commit = [&] {
    if (communicator.rank() != 0) return;
    write_durably(temporary / kManifestName, manifest.to_json());
    rename_durably(temporary, folder, IfExists::kRefuse);
  };
  return attempt(commit, communicator);
}

}  // namespace

std::vector<CheckpointEntry> layout_of(const ParameterBuffer& parameters) {
  std::vector<CheckpointEntry> layout;
  for (const Parameter& parameter : parameters.parameters()) {
    CHECK(parameter.part.is_whole()) << parameter.name;
    layout.push_back({.name = parameter.name, .offset = parameter.offset, .shape = parameter.shape});
  }
  return layout;
}

std::optional<std::string> save_checkpoint(const fs::path& run, const CheckpointContents& contents,
                                           const KeepPolicy& keep, Communicator& communicator) {
  CHECK(!contents.tensors.empty());
  const bool leads = communicator.rank() == 0;
  const fs::path folder = checkpoint_folder(run, contents.state.step);
  const CheckpointManifest manifest{.state = contents.state,
                                    .model_json = contents.model_json,
                                    .num_elements = contents.num_elements,
                                    .tensors = {},
                                    .layout = contents.layout,
                                    .files = {}};
  std::optional<CheckpointManifest> saved;
  std::string temporary;  // none if there is nothing to write
  const auto prepare = [&] {
    if (!leads) return;
    saved = find_saved(folder);
    if (!saved) temporary = make_temporary(folder).string();
  };
  if (auto failure = attempt(prepare, communicator)) return failure;
  temporary = broadcast_text(temporary, 0, communicator);
  if (temporary.empty()) return compare(folder, saved, contents, manifest, communicator);

  const auto failure = write(temporary, folder, contents, manifest, communicator);
  if (!leads) return failure;
  if (failure) {
    discard_folder(temporary);
  } else {
    prune_checkpoints(run, keep, contents.state.step);
  }
  return failure;
}

}  // namespace trireme
