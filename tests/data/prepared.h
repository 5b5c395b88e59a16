// Data sets for the tests of reading.
#pragma once

#include <string>
#include <vector>

#include "data/durable_file.h"
#include "data/prepare.h"
#include "tests/support/temp_dir.h"

namespace trireme {

inline PrepareSummary prepare_quietly(const PrepareOptions& options) {
  return prepare(options, [](const PrepareProgress&) {});
}

// Byte tokens of the text, one document, in shards of `shard_tokens`; a twentieth is for validation.
inline std::string prepare_bytes(const TempDir& dir, const std::string& name, const std::string& text,
                                 std::int64_t shard_tokens) {
  write_durably(dir / (name + ".txt"), text);
  PrepareOptions options;
  options.inputs = {dir / (name + ".txt")};
  options.output = dir / name;
  options.tokenizer = "byte";
  options.shard_tokens = shard_tokens;
  prepare_quietly(options);
  return options.output;
}

}  // namespace trireme
