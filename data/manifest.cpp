#include "data/manifest.h"

#include <sstream>
#include <system_error>
#include <utility>

#include "data/checksum.h"
#include "data/file.h"
#include "data/json.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr const char* kTextFormat = "trireme-dataset-1";
constexpr const char* kPairsFormat = "trireme-pairs-1";

const char* format_of(Content content) {
  return content == Content::kText ? kTextFormat : kPairsFormat;
}

// The key of what a split or shard has that many of.
const char* count_key(Content content) {
  return content == Content::kText ? "num_documents" : "num_pairs";
}

Json to_json_value(const SplitFacts& split, Content content) {
  Json json = {{"num_tokens", split.num_tokens}};
  if (content == Content::kPairs) json["num_source_tokens"] = split.num_source_tokens;
  json.update({{count_key(content), split.num_documents},
               {"num_bytes", split.num_bytes},
               {"bytes_per_token", split.bytes_per_token()},
               {"unigram_entropy", split.unigram_entropy}});
  Json shards = Json::array();
  for (const ShardFacts& shard : split.shards)
    shards.push_back({{"file", shard.file},
                      {"num_tokens", shard.num_tokens},
                      {count_key(content), shard.num_documents},
                      {"size_bytes", shard.size_bytes},
                      {"checksum", shard.checksum}});
  json["shards"] = std::move(shards);
  return json;
}

SplitFacts split_of(const Json& json, Content content, const std::string& where) {
  SplitFacts split;
  split.num_tokens = json_value<std::int64_t>(json, "num_tokens", where);
  if (content == Content::kPairs)
    split.num_source_tokens = json_value<std::int64_t>(json, "num_source_tokens", where);
  split.num_documents = json_value<std::int64_t>(json, count_key(content), where);
  split.num_bytes = json_value<std::int64_t>(json, "num_bytes", where);
  split.unigram_entropy = json_value<double>(json, "unigram_entropy", where);
  std::int64_t tokens_in_shards = 0;
  for (const Json& entry : json_value<Json>(json, "shards", where)) {
    ShardFacts shard;
    shard.file = json_value<std::string>(entry, "file", where);
    shard.num_tokens = json_value<std::int64_t>(entry, "num_tokens", where);
    shard.num_documents = json_value<std::int64_t>(entry, count_key(content), where);
    shard.size_bytes = json_value<std::int64_t>(entry, "size_bytes", where);
    shard.checksum = json_value<std::string>(entry, "checksum", where);
    if (shard.num_tokens <= 0)
      throw UserError(where, "shard '" + shard.file + "' has no tokens", "leave it out");
    tokens_in_shards += shard.num_tokens;
    split.shards.push_back(std::move(shard));
  }
  if (tokens_in_shards != split.num_tokens)
    throw UserError(where,
                    "names " + std::to_string(split.num_tokens) + " tokens, but its shards have " +
                        std::to_string(tokens_in_shards),
                    "correct it or prepare the data again");
  return split;
}

}  // namespace

double SplitFacts::bytes_per_token() const {
  return num_tokens == 0 ? 0.0 : static_cast<double>(num_bytes) / static_cast<double>(num_tokens);
}

std::string Manifest::computed_id() const {
  std::ostringstream all;
  all << tokenizer;
  for (const auto& [name, split] : splits) {
    all << '\n' << name;
    for (const ShardFacts& shard : split.shards) all << '\n' << shard.num_tokens << ' ' << shard.checksum;
  }
  return to_hex(checksum_of(all.str()));
}

std::string Manifest::to_json() const {
  Json json = {{"format", format_of(content)},
               {"dataset_id", dataset_id},
               {"tokenizer", tokenizer},
               {"tokenizer_kind", tokenizer_kind},
               {"vocab_size", vocab_size}};
  Json all = Json::object();
  for (const auto& [name, split] : splits) all[name] = to_json_value(split, content);
  json["splits"] = std::move(all);
  return json.dump(1) + "\n";
}

Manifest load_manifest(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kManifestFile;
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    throw UserError(folder.string(), std::string("is no prepared data set: it has no ") + kManifestFile,
                    "make one with `trireme prepare`");
  const std::string where = path.string();
  const Json json = parse_json(read_whole_file(path), where);
  const auto format = json_value<std::string>(json, "format", where);
  if (format != kTextFormat && format != kPairsFormat)
    throw UserError(where,
                    "has format '" + format + "' instead of '" + kTextFormat + "' or '" + kPairsFormat + "'",
                    "prepare the data again");
  Manifest manifest;
  manifest.content = format == kTextFormat ? Content::kText : Content::kPairs;
  manifest.dataset_id = json_value<std::string>(json, "dataset_id", where);
  manifest.tokenizer = json_value<std::string>(json, "tokenizer", where);
  manifest.tokenizer_kind = json_value<std::string>(json, "tokenizer_kind", where);
  manifest.vocab_size = json_value<std::int64_t>(json, "vocab_size", where);
  const Json splits = json_value<Json>(json, "splits", where);
  for (const auto& [name, split] : splits.items())
    manifest.splits[name] = split_of(split, manifest.content, where + " (split " + name + ")");
  return manifest;
}

void check_content(const Manifest& manifest, Content content, const std::filesystem::path& folder) {
  if (manifest.content == content) return;
  if (content == Content::kText)
    throw UserError(folder.string(), "holds pairs of sentences and translations, not text",
                    "train an encoder-decoder on it, or name a data set that was prepared without --pairs");
  throw UserError(folder.string(), "holds text, not pairs of sentences and translations",
                  "make a data set of pairs with `trireme prepare --pairs`");
}

}  // namespace trireme
