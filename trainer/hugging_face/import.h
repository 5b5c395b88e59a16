// A model of Hugging Face's becomes a run of ours.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace trireme {

struct ImportOptions {
  std::filesystem::path
      folder;  // config.json, model.safetensors or its shards, tokenizer.json or tokenizer.model
  std::filesystem::path run;  // to be made
  std::int64_t context = 0;   // 0: the model's own; rotary positions allow for another
  bool with_tokenizer = true;
  std::string end_of_document;  // as of import_tokenizer()
};

struct ImportSummary {
  std::string architecture;
  std::int64_t num_parameters = 0;
  std::optional<std::string> tokenizer;  // the file that it was made of, if there was one
  std::filesystem::path checkpoint;
  std::vector<std::string> left_out;  // of what our models don't have: kept for the export
};

// Makes a run's directory with a checkpoint of step 0, the tokenizer, and config.toml with what `trireme
// train` needs to go on from it.  The model is in memory once, as float32, and read tensor by tensor.  Throws
// UserError, and leaves nothing behind, when the folder is of no architecture that is supported (see
// model_config.h), when tensors are missing, too many, or of another shape, which are named, and when the run
// exists.
ImportSummary import_hugging_face(const ImportOptions& options, Communicator& communicator);

}  // namespace trireme
