// The names in a shard, and the check that it is the one that its manifest means.
#pragma once

#include <filesystem>
#include <string>

#include "data/hdf5_file.h"
#include "data/manifest.h"

namespace trireme {

inline constexpr const char* kShardFormat = "trireme-shard-1";
inline constexpr const char* kTokensArray = "tokens";
inline constexpr const char* kDocumentOffsetsArray = "document_offsets";

// One number for all that a shard holds: the checksum of the checksums of its blocks, tokens first.  Empty
// for a shard that was written without them.
std::string shard_checksum(const Hdf5Reader& shard);

// Opens a shard of a data set.  A UserError by the shard's name, if it is not there, cut short, no shard, of
// another tokenizer or another data set.  The tokens themselves are not read.
Hdf5Reader open_shard(const std::filesystem::path& folder, const ShardFacts& facts, const Manifest& manifest);

}  // namespace trireme
