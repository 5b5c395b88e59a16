#include "launch/commands/checkpoint.h"

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/user_error.h"
#include "kernels/buffer.h"
#include "parallel/process.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

void inspect(const std::string& path, bool json) {
  const fs::path folder =
      fs::exists(fs::path(path) / kManifestName) ? fs::path(path) : newest_checkpoint(path);
  const CheckpointManifest manifest = read_manifest(folder);
  std::cout << (json ? manifest.to_json() + "\n"
                     : "folder    " + folder.string() + "\n" + describe(manifest));
}

// Throws UserError for the first thing that is wrong.
void verify_one(const fs::path& folder, Process& process) {
  const CheckpointManifest manifest = read_manifest(folder);
  const Buffer memory(manifest.num_elements * size_bytes(DType::kFloat32));
  const Tensor values = memory.tensor(DType::kFloat32, {manifest.num_elements});
  for (const auto& tensor : manifest.tensors) {
    load_tensors(folder, manifest, manifest.layout, {{tensor.name, values}}, process.world());
  }
  if (process.rank() == 0) std::cout << folder.string() << " is whole\n";
}

// Of a run, all are looked at before the first that is damaged ends it.
void verify(const std::string& path, Process& process) {
  if (fs::exists(fs::path(path) / kManifestName)) return verify_one(path, process);
  const std::vector<fs::path> folders = find_checkpoints(path);
  if (folders.empty()) throw UserError(path, "holds no checkpoint", "name a run's directory or a checkpoint");
  int num_damaged = 0;
  for (const fs::path& folder : folders) {
    try {
      verify_one(folder, process);
    } catch (const UserError& damage) {
      ++num_damaged;
      if (process.rank() == 0) std::cout << damage.what() << "\n";
    }
  }
  if (num_damaged > 0) {
    throw UserError(
        path,
        std::to_string(num_damaged) + " of " + std::to_string(folders.size()) + " checkpoints are damaged",
        "training goes on from the newest that is whole; delete the others");
  }
}

}  // namespace

void add_checkpoint_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("checkpoint", "Look at checkpoints, or check them");
  command->require_subcommand(1);
  const auto path = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);

  CLI::App* inspecting = command->add_subcommand("inspect", "Print what a checkpoint holds");
  inspecting->add_option("path", *path, "A checkpoint's folder, or a run's, for its newest")->required();
  inspecting->add_flag("--json", *json, "The manifest, as it is");
  inspecting->callback([path, json, &process] {
    if (process.rank() == 0) inspect(*path, *json);
  });

  CLI::App* verifying = command->add_subcommand("verify", "Read every byte and check it");
  verifying->add_option("path", *path, "A checkpoint's folder, or a run's, for all that it has")->required();
  verifying->callback([path, &process] { verify(*path, process); });
}

}  // namespace trireme
