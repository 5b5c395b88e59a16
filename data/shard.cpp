#include "data/shard.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "data/user_error.h"

namespace trireme {
namespace {

constexpr const char* kRemedy = "bring back the right file or prepare the data again";
constexpr std::size_t kPieceTokens = std::size_t{1} << 18;

const char* format_of(Content content) {
  return content == Content::kText ? kShardFormat : kPairShardFormat;
}

std::string shard_name(const std::string& split, std::size_t index) {
  char number[16];
  std::snprintf(number, sizeof(number), "_%05zu.h5", index);
  return split + number;
}

template <typename Token>
void write_tokens(Hdf5Writer& writer, std::span<const std::int32_t> tokens) {
  writer.begin_array(kTokensArray, element_type<Token>(), static_cast<std::int64_t>(tokens.size()));
  std::vector<Token> piece;
  for (; !tokens.empty(); tokens = tokens.subspan(piece.size())) {
    const auto part = tokens.first(std::min(tokens.size(), kPieceTokens));
    piece.assign(part.begin(), part.end());
    writer.append(std::span<const Token>(piece));
  }
}

}  // namespace

std::vector<const char*> arrays_beside_tokens(Content content) {
  if (content == Content::kText) return {kDocumentOffsetsArray};
  return {kSourceLengthsArray, kTargetLengthsArray};
}

ShardFacts write_shard(const ShardOptions& options, Content content, std::size_t index,
                       std::span<const std::int32_t> tokens,
                       const std::function<void(Hdf5Writer&)>& write_others) {
  ShardFacts facts;
  facts.file = shard_name(options.split, index);
  facts.num_tokens = static_cast<std::int64_t>(tokens.size());
  const std::filesystem::path path = options.folder / facts.file;
  Hdf5Writer writer(path);
  writer.set_attribute("format", std::string(format_of(content)));
  writer.set_attribute("split", options.split);
  writer.set_attribute("tokenizer", options.tokenizer);
  writer.set_attribute("vocab_size", options.vocab_size);
  if (options.vocab_size <= 65536) {
    write_tokens<std::uint16_t>(writer, tokens);
  } else {
    write_tokens<std::uint32_t>(writer, tokens);
  }
  write_others(writer);
  writer.commit();
  const Hdf5Reader written(path);
  facts.size_bytes = written.file().size_bytes();
  facts.checksum = shard_checksum(written, content);
  return facts;
}

double entropy_of(std::span<const std::int64_t> counts) {
  const auto total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  double entropy = 0.0;
  for (const std::int64_t count : counts) {
    const double share = static_cast<double>(count) / total;
    if (count > 0) entropy -= share * std::log(share);
  }
  return entropy;
}

std::string shard_checksum(const Hdf5Reader& shard, Content content) {
  std::vector<std::uint64_t> all = shard.checksums(kTokensArray);
  if (all.empty()) return "";
  for (const char* name : arrays_beside_tokens(content)) {
    const std::vector<std::uint64_t> others = shard.checksums(name);
    all.insert(all.end(), others.begin(), others.end());
  }
  return to_hex(checksum_of(std::as_bytes(std::span(all))));
}

Hdf5Reader open_shard(const std::filesystem::path& folder, const ShardFacts& facts,
                      const Manifest& manifest) {
  const std::filesystem::path path = folder / facts.file;
  const std::string where = path.string();
  Hdf5Reader shard(path);
  const std::string format = format_of(manifest.content);
  if (!shard.has_attribute("format") || shard.text_attribute("format") != format)
    throw UserError(where, "is no shard of tokens: attribute 'format' is not '" + format + "'", kRemedy);
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
  if (!facts.checksum.empty() && shard_checksum(shard, manifest.content) != facts.checksum)
    throw UserError(where, "is of another data set: its checksums aren't those of the manifest", kRemedy);
  return shard;
}

}  // namespace trireme
