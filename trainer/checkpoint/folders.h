// The folders of a run's checkpoints: their names, which there are, and how they go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "trainer/checkpoint/checkpoint.h"

namespace trireme {

// RUN/checkpoints/step_00001200
std::filesystem::path checkpoint_folder(const std::filesystem::path& run, std::int64_t step);

// The folders that have the name of a checkpoint, whole or damaged; newest first.  Throws UserError when the
// folder above them cannot be read; there being none is no error.
std::vector<std::filesystem::path> find_checkpoints(const std::filesystem::path& run);

// The newest whose manifest is whole and whose files have their size.  Throws UserError when there is none.
std::filesystem::path newest_checkpoint(const std::filesystem::path& run);

// Takes a folder's name away before it is emptied, so that a half-deleted one is never seen.  A folder that
// is gone, or goes meanwhile, is no error.
void discard_folder(const std::filesystem::path& folder);

// Gives a damaged checkpoint a name under which nobody looks for checkpoints, and returns it.
std::filesystem::path set_aside(const std::filesystem::path& folder);

// Discards what `keep` doesn't keep after `saved_step` was saved.  Damaged ones are neither counted nor
// touched.
void prune_checkpoints(const std::filesystem::path& run, const KeepPolicy& keep, std::int64_t saved_step);

}  // namespace trireme
