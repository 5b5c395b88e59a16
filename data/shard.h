// One shard: its names, how it is written, and the check that it is the one that its manifest means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "data/manifest.h"

namespace trireme {

inline constexpr const char* kShardFormat = "trireme-shard-1";
inline constexpr const char* kTokensArray = "tokens";
inline constexpr const char* kDocumentOffsetsArray = "document_offsets";

inline constexpr const char* kPairShardFormat = "trireme-pair-shard-1";
inline constexpr const char* kSourceLengthsArray = "source_lengths";
inline constexpr const char* kTargetLengthsArray = "target_lengths";

// The arrays that a shard has beside its tokens.
std::vector<const char*> arrays_beside_tokens(Content content);

// What the shards of a split have in common.
struct ShardOptions {
  std::filesystem::path folder;
  std::string split;
  std::string tokenizer;  // identity
  std::int64_t vocab_size = 0;
  std::int64_t shard_tokens = 0;
};

// Writes shard SPLIT_<index>.h5: the tokens, then what `write_others` writes.  num_documents is left to the
// caller. REQUIRES: tokens.
ShardFacts write_shard(const ShardOptions& options, Content content, std::size_t index,
                       std::span<const std::int32_t> tokens,
                       const std::function<void(Hdf5Writer&)>& write_others);

// -sum p ln p of things that occur so often.
double entropy_of(std::span<const std::int64_t> counts);

// One number for all that a shard holds: the checksum of the checksums of its blocks, tokens first.  Empty
// for a shard that was written without them.
std::string shard_checksum(const Hdf5Reader& shard, Content content = Content::kText);

// Opens a shard of a data set.  A UserError by the shard's name, if it is not there, cut short, no shard, of
// another tokenizer or another data set.  The tokens themselves are not read.
Hdf5Reader open_shard(const std::filesystem::path& folder, const ShardFacts& facts, const Manifest& manifest);

}  // namespace trireme
