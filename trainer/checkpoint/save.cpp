#include <string>
#include <system_error>

#include <glog/logging.h>

#include "data/durable_file.h"
#include "data/file.h"
#include "data/user_error.h"
#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/rank_file.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

CheckpointManifest manifest_without_files(const CheckpointContents& contents) {
  CHECK(!contents.tensors.empty());
  CheckpointManifest manifest{.state = contents.state,
                              .model_json = contents.model_json,
                              .num_elements = contents.tensors.front().values.num_elements(),
                              .layout = contents.layout};
  for (const CheckpointTensor& tensor : contents.tensors) {
    CHECK_EQ(tensor.values.num_elements(), manifest.num_elements) << tensor.name;
    manifest.tensors.push_back({.name = tensor.name, .checksum = checksum_of_tensor(tensor.values)});
  }
  return manifest;
}

// A checkpoint is made of slices from all ranks: it is one only if they hold the same.
std::optional<std::string> find_divergence(const CheckpointManifest& manifest, Communicator& communicator) {
  std::vector<std::uint64_t> mine;
  for (const auto& tensor : manifest.tensors) mine.push_back(tensor.checksum);
  const std::vector<std::uint64_t> all = gather_numbers(mine, communicator);
  for (std::size_t i = mine.size(); i < all.size(); ++i) {
    const std::size_t tensor = i % mine.size();
    if (all[i] == all[tensor]) continue;
    return "rank " + std::to_string(i / mine.size()) + " holds other " + manifest.tensors[tensor].name +
           " than rank 0: the replicas have diverged";
  }
  return std::nullopt;
}

// Whether this step's folder holds the same already.  One that is damaged is moved out of the way.
bool is_saved_already(const fs::path& folder, const CheckpointManifest& manifest) {
  if (!fs::exists(folder)) return false;
  std::optional<CheckpointManifest> existing;
  try {
    existing = read_manifest(folder);
    check_every_byte(folder, *existing);
  } catch (const UserError& error) {
    LOG(WARNING) << error.what() << ": now called " << set_aside(folder).string();
    return false;
  }
  if (existing->state == manifest.state && existing->tensors == manifest.tensors) return true;
  throw UserError(folder.string(), "this step was saved before, with other values",
                  "train in a fresh directory, or move it away");
}

// Makes the folder that is written to; no name if there is nothing to write.
std::string prepare(const fs::path& run, const CheckpointManifest& manifest) {
  const fs::path folder = checkpoint_folder(run, manifest.state.step);
  std::error_code error;
  if (fs::create_directories(folder.parent_path(), error)) sync_folder(run);
  if (error) throw_system_error(folder.parent_path(), "create it", error.value());
  if (is_saved_already(folder, manifest)) return "";
  const fs::path temporary = temporary_name(folder);
  fs::create_directory(temporary, error);
  if (error) throw_system_error(temporary, "create it", error.value());
  return temporary.string();
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

}  // namespace

std::vector<CheckpointEntry> layout_of(const ParameterBuffer& parameters) {
  std::vector<CheckpointEntry> layout;
  for (const Parameter& parameter : parameters.parameters()) {
    layout.push_back({.name = parameter.name, .offset = parameter.offset, .shape = parameter.shape});
  }
  return layout;
}

std::optional<std::string> save_checkpoint(const fs::path& run, const CheckpointContents& contents,
                                           const KeepPolicy& keep, Communicator& communicator) {
  const bool leads = communicator.rank() == 0;
  CheckpointManifest manifest = manifest_without_files(contents);
  if (auto failure = find_divergence(manifest, communicator)) return failure;

  std::string temporary;
  const auto prepare_folder = [&] {
    if (leads) temporary = prepare(run, manifest);
  };
  if (auto failure = attempt(prepare_folder, communicator)) return failure;
  temporary = broadcast_text(temporary, 0, communicator);
  if (temporary.empty()) return std::nullopt;

  CheckpointManifest::File mine;
  const auto write = [&] {
    mine = write_rank_file(temporary, contents, communicator.rank(), communicator.size());
  };
  const auto commit = [&] {
    if (!leads) return;
    write_durably(fs::path(temporary) / kManifestName, manifest.to_json());
    rename_durably(temporary, checkpoint_folder(run, manifest.state.step), IfExists::kRefuse);
  };
  auto failure = attempt(write, communicator);
  if (!failure) {
    manifest.files = gather_files(mine, communicator);
    failure = attempt(commit, communicator);
  }
  if (!leads) return failure;
  if (failure) {
    discard_folder(temporary);
  } else {
    prune_checkpoints(run, keep, manifest.state.step);
  }
  return failure;
}

}  // namespace trireme
