#include "trainer/checkpoint/load.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <sstream>
#include <string>

#include <glog/logging.h>

#include "data/checksum.h"
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

// What rank 0 finds: another rank's view of a network file system may be older.
std::vector<fs::path> agree_on_checkpoints(const fs::path& run, Communicator& communicator) {
  std::string names;
  const auto list = [&] {
    if (communicator.rank() != 0) return;
    for (const fs::path& folder : find_checkpoints(run)) names += folder.string() + '\n';
  };
  if (auto failure = attempt(list, communicator)) throw UserError(run.string(), *failure, "");
  std::istringstream lines(broadcast_text(names, 0, communicator));
  std::vector<fs::path> folders;
  for (std::string line; std::getline(lines, line);) folders.emplace_back(line);
  return folders;
}

std::string described(const CheckpointEntry& entry) {
  return entry.name + " " + entry.shape.to_string();
}

void check_layout(const fs::path& folder, const std::vector<CheckpointEntry>& theirs,
                  const std::vector<CheckpointEntry>& ours) {
  const auto [their, our] = std::mismatch(theirs.begin(), theirs.end(), ours.begin(), ours.end());
  if (their == theirs.end() && our == ours.end()) return;
  std::string difference;
  if (their == theirs.end()) {
    difference = "it ends before " + described(*our);
  } else if (our == ours.end()) {
    difference = "this model ends before its " + described(*their);
  } else {
    difference = "it has " + described(*their) + " where this model has " + described(*our);
  }
  throw UserError(folder.string(), "is a checkpoint of another model: " + difference,
                  "train the model of the checkpoint, or train in a fresh directory");
}

// That this checkpoint is of the run that `expected` describes.
void check_matches(const fs::path& folder, const CheckpointManifest& manifest,
                   const CheckpointContents& expected) {
  if (auto difference =
          first_difference(manifest.model_json, expected.model_json, expected.changeable_keys)) {
    throw UserError(folder.string(), "is a checkpoint of another model: " + *difference,
                    "train the model of the checkpoint, or train in a fresh directory");
  }
  check_layout(folder, manifest.layout, expected.layout);
  CHECK_EQ(manifest.num_elements, expected.num_elements);
  if (manifest.state.seed != expected.state.seed) {
    throw UserError(
        folder.string(),
        "was trained with seed " + std::to_string(manifest.state.seed) + ", not " +
            std::to_string(expected.state.seed),
        "set run.seed=" + std::to_string(manifest.state.seed) + ", or train in a fresh directory");
  }
  if (manifest.state.dataset_id != expected.state.dataset_id) {
    throw UserError(folder.string(),
                    "was trained on data " + manifest.state.dataset_id + ", not " + expected.state.dataset_id,
                    "set data.path to the same data, or train in a fresh directory");
  }
}

// What the whole tensor's checksum was when it was saved.
std::uint64_t saved_checksum(const fs::path& folder, const CheckpointManifest& manifest,
                             const std::string& tensor) {
  const auto found = std::find_if(manifest.tensors.begin(), manifest.tensors.end(),
                                  [&](const auto& record) { return record.name == tensor; });
  if (found == manifest.tensors.end())
    throw UserError(folder.string(), "does not hold " + tensor, "use a checkpoint of a training run");
  return found->checksum;
}

// Each rank reads and checks its slice, from which all get their pieces.  Returns what is wrong with the
// files.
std::optional<std::string> read_tensors(const fs::path& folder, const CheckpointManifest& manifest,
                                        const std::vector<CheckpointTensor>& tensors,
                                        Communicator& communicator) {
  std::vector<std::uint64_t> expected;
  for (const CheckpointTensor& tensor : tensors)
    expected.push_back(saved_checksum(folder, manifest, tensor.name));
  const auto num_ranks = static_cast<std::size_t>(communicator.size());
  std::optional<CheckpointReader> reader;
  const auto open = [&] {
    for (auto i = static_cast<std::size_t>(communicator.rank()); i < manifest.files.size(); i += num_ranks)
      check_frame(folder, manifest.files[i]);
    reader.emplace(folder, manifest);
  };
  if (auto failure = attempt(open, communicator)) return failure;

  const SliceWindows windows(manifest.num_elements, communicator.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const CheckpointTensor& tensor = tensors[i];
    BlockChecksums checksums;
    const auto fill = [&](const FlatRange& range, std::span<float> elements) {
      reader->read(tensor.name, range, elements);
      checksums.update(std::as_bytes(elements));
    };
    if (auto failure = scatter_slices(tensor, windows, fill, communicator)) return failure;
    if (checksum_of_slices(checksums.finish(), manifest.num_elements, communicator) != expected[i])
      return folder.string() + ": holds other " + tensor.name + " than were to be saved";
  }
  return std::nullopt;
}

// Returns what is wrong with the files; throws what is wrong with asking for them.
std::optional<std::string> try_to_load(const fs::path& folder, CheckpointContents& contents,
                                       Communicator& communicator) {
  std::string text;
  const auto read = [&] {
    if (communicator.rank() != 0) return;
    read_manifest(folder);
    text = read_whole_file(folder / kManifestName);
  };
  if (auto failure = attempt(read, communicator)) return failure;
  text = broadcast_text(text, 0, communicator);
  const auto manifest = CheckpointManifest::from_json(text, folder / kManifestName);
  check_matches(folder, manifest, contents);
  if (auto failure = read_tensors(folder, manifest, contents.tensors, communicator)) return failure;
  contents.state = manifest.state;
  return std::nullopt;
}

}  // namespace

std::optional<fs::path> load_newest_checkpoint(const fs::path& run, CheckpointContents& contents,
                                               Communicator& communicator) {
  const std::vector<fs::path> folders = agree_on_checkpoints(run, communicator);
  std::string newest_failure;
  for (const fs::path& folder : folders) {
    const auto failure = try_to_load(folder, contents, communicator);
    if (!failure) return folder;
    LOG_IF(WARNING, communicator.rank() == 0) << "passing over a checkpoint: " << *failure;
    if (newest_failure.empty()) newest_failure = *failure;
  }
  if (folders.empty()) return std::nullopt;
  throw UserError(
      (run / "checkpoints").string(),
      "none of " + std::to_string(folders.size()) + " checkpoints is whole; of the newest: " + newest_failure,
      "bring back a good copy, or train in a fresh directory");
}

void load_tensors(const fs::path& folder, const CheckpointManifest& manifest,
                  const std::vector<CheckpointEntry>& layout, const std::vector<CheckpointTensor>& tensors,
                  Communicator& communicator) {
  check_layout(folder, manifest.layout, layout);
  if (auto failure = read_tensors(folder, manifest, tensors, communicator))
    throw UserError(folder.string(), "cannot be loaded: " + *failure, "");
}

}  // namespace trireme
