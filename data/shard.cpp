#include "data/shard.h"

#include <vector>

#include "data/user_error.h"

namespace trireme {
namespace {

constexpr const char* kRemedy = "bring back the right file or prepare the data again";

}  // namespace

std::string shard_checksum(const Hdf5Reader& shard) {
  std::vector<std::uint64_t> all = shard.checksums(kTokensArray);
  if (all.empty()) return "";
  const std::vector<std::uint64_t> offsets = shard.checksums(kDocumentOffsetsArray);
  all.insert(all.end(), offsets.begin(), offsets.end());
  return to_hex(checksum_of(std::as_bytes(std::span(all))));
}

Hdf5Reader open_shard(const std::filesystem::path& folder, const ShardFacts& facts,
                      const Manifest& manifest) {
  const std::filesystem::path path = folder / facts.file;
  const std::string where = path.string();
  Hdf5Reader shard(path);
  if (!shard.has_attribute("format") || shard.text_attribute("format") != kShardFormat)
    throw UserError(where,
                    std::string("is no shard of tokens: attribute 'format' is not '") + kShardFormat + "'",
                    kRemedy);
  if (const std::string tokenizer = shard.text_attribute("tokenizer"); tokenizer != manifest.tokenizer)
    throw UserError(
        where,
        "was made with another tokenizer (" + tokenizer + ") than its data set (" + manifest.tokenizer + ")",
        kRemedy);
  const Hdf5Reader::Array tokens = shard.array(kTokensArray);
  if (tokens.type != ElementType::kUInt16 && tokens.type != ElementType::kUInt32)
    throw UserError(where, std::string("has tokens of type ") + to_string(tokens.type),
                    "write uint16 or uint32");
  if (tokens.size != facts.num_tokens)
    throw UserError(where,
                    "has " + std::to_string(tokens.size) + " tokens where the manifest names " +
                        std::to_string(facts.num_tokens),
                    kRemedy);
  if (!facts.checksum.empty() && shard_checksum(shard) != facts.checksum)
    throw UserError(where, "is of another data set: its checksums aren't those of the manifest", kRemedy);
  return shard;
}

}  // namespace trireme
