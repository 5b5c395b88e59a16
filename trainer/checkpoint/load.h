// Reading a checkpoint without going on with its run: what `generate`, `evaluate` and `trireme checkpoint`
// do.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/manifest.h"

namespace trireme {

// Fills the pieces of some tensors of a checkpoint, and checks all of the tensors; every rank calls it.  The
// manifest, from read_manifest(), says how to build the model that they are for.  Throws UserError, on every
// rank alike, when the layout is another or when bytes are not as they were written.
void load_tensors(const std::filesystem::path& folder, const CheckpointManifest& manifest,
                  const std::vector<CheckpointEntry>& layout, const std::vector<CheckpointTensor>& tensors,
                  Communicator& communicator);

// What a person wants to know of a checkpoint; several lines.
std::string describe(const CheckpointManifest& manifest);

}  // namespace trireme
