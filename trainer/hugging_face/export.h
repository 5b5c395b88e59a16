// A checkpoint of ours becomes a folder of Hugging Face's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "parallel/communicator.h"
#include "trainer/hugging_face/safetensors.h"

namespace trireme {

struct ExportOptions {
  std::filesystem::path model;  // a run's directory, of which the newest checkpoint is taken, or a checkpoint
  std::filesystem::path folder;              // to be made
  StoredType type = StoredType::kFloat32;    // or kBFloat16, to the nearest
  std::int64_t shard_bytes = 5'000'000'000;  // most in one file of weights, but for a tensor that is larger
};

struct ExportSummary {
  std::filesystem::path checkpoint;
  std::string architecture;
  int num_files = 0;                     // of weights
  std::optional<std::string> tokenizer;  // its file, where Hugging Face has a form for the run's
};

// Writes config.json, the weights, sharded where they are large, and the tokenizer if it came from Hugging
// Face or SentencePiece: `transformers` loads the folder.  What was imported has the same bytes again, of the
// type that it had, also what ours has no layer for (left_out.h).  Throws UserError, and leaves nothing
// behind, when the model is none of an architecture of theirs, and when the folder exists.
ExportSummary export_hugging_face(const ExportOptions& options, Communicator& communicator);

}  // namespace trireme
