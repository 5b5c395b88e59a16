#include "data/token_dataset.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include <glog/logging.h>

#include "data/shard.h"
#include "data/tokenizer/tokenizer.h"
#include "data/user_error.h"

namespace trireme {

TokenDataset::TokenDataset(const std::filesystem::path& folder, const std::string& split,
                           std::size_t max_open_shards, Content content)
    : folder_(folder), split_(split), manifest_(load_manifest(folder)), max_open_shards_(max_open_shards) {
  CHECK_GT(max_open_shards, 0u);
  check_content(manifest_, content, folder);
  if (!manifest_.splits.contains(split))
    throw UserError((folder / kManifestFile).string(), "has no split '" + split + "'",
                    "prepare the data again");
  check_files();
  std::int64_t begin = 0;
  for (const ShardFacts& shard : facts().shards) {
    shards_.push_back({.begin = begin, .tokens = {}, .checksums = {}, .is_checked = {}, .documents = {}});
    begin += shard.num_tokens;
  }
}

void TokenDataset::check_files() const {
  const std::filesystem::path tokenizer_path = folder_ / kTokenizerFile;
  const std::string identity = load_tokenizer(tokenizer_path)->identity();
  if (identity != manifest_.tokenizer)
    throw UserError(tokenizer_path.string(),
                    "is another tokenizer (" + identity + ") than the one the data were made with (" +
                        manifest_.tokenizer + ")",
                    "bring back the right file or prepare the data again");
  for (const ShardFacts& shard : facts().shards) {
    const std::filesystem::path path = folder_ / shard.file;
    std::error_code error;
    const std::uintmax_t size_bytes = std::filesystem::file_size(path, error);
    if (error) throw_system_error(path, "open the shard", error.value());
    if (size_bytes != static_cast<std::uintmax_t>(shard.size_bytes))
      throw UserError(
          path.string(),
          "has " + std::to_string(size_bytes) + " bytes where the manifest names " +
              std::to_string(shard.size_bytes),
          "the file was cut short or replaced: bring back the right one or prepare the data again");
  }
}

template <typename Part>
void TokenDataset::for_each_shard(std::int64_t position, std::int64_t size, Part part) {
  CHECK(position >= 0 && position + size <= num_tokens())
      << "tokens " << position << " + " << size << " of " << num_tokens();
  const auto after =
      std::upper_bound(shards_.begin(), shards_.end(), position,
                       [](std::int64_t place, const Shard& shard) { return place < shard.begin; });
  for (auto index = static_cast<std::size_t>(after - shards_.begin()) - 1; size > 0; ++index) {
    const std::int64_t begin = position - shards_[index].begin;
    const std::int64_t here = std::min(size, facts().shards[index].num_tokens - begin);
    part(index, begin, here);
    position += here;
    size -= here;
  }
}

void TokenDataset::read(std::int64_t position, std::span<std::int32_t> out) {
  for_each_shard(position, static_cast<std::int64_t>(out.size()),
                 [&](std::size_t index, std::int64_t begin, std::int64_t size) {
                   read_from_shard(index, begin, out.first(static_cast<std::size_t>(size)));
                   out = out.subspan(static_cast<std::size_t>(size));
                 });
}

void TokenDataset::document_starts(std::int64_t position, std::int64_t size,
                                   std::vector<std::int64_t>& starts) {
  for_each_shard(position, size, [&](std::size_t index, std::int64_t begin, std::int64_t here) {
    DocumentStarts& documents = documents_of(index);
    documents.append(open(index), begin, begin + here, shards_[index].begin, starts);
  });
}

DocumentStarts& TokenDataset::documents_of(std::size_t index) {
  CHECK(manifest_.content == Content::kText);
  std::optional<DocumentStarts>& documents = shards_[index].documents;
  if (!documents) {
    const ShardFacts& shard = facts().shards[index];
    documents.emplace(open_shard(folder_, shard, manifest_), shard.num_tokens, shard.num_documents);
  }
  return *documents;
}

void TokenDataset::read_from_shard(std::size_t index, std::int64_t begin, std::span<std::int32_t> out) {
  const File& file = open(index);
  const Hdf5Reader::Array& tokens = shards_[index].tokens;
  const std::int64_t begin_byte = begin * size_bytes(tokens.type);
  const std::int64_t num_bytes = static_cast<std::int64_t>(out.size()) * size_bytes(tokens.type);
  check_blocks(file, index, begin_byte, begin_byte + num_bytes);
  if (tokens.type == ElementType::kUInt32) {  // below the vocabulary's size, and so the same as int32
    file.read_at(tokens.offset + begin_byte, std::as_writable_bytes(out));
    return;
  }
  narrow_.resize(out.size());
  file.read_at(tokens.offset + begin_byte, std::as_writable_bytes(std::span(narrow_)));
  std::copy(narrow_.begin(), narrow_.end(), out.begin());
}

const File& TokenDataset::open(std::size_t index) {
  const auto found =
      std::find_if(open_.begin(), open_.end(), [&](const OpenShard& shard) { return shard.index == index; });
  if (found != open_.end()) {
    open_.splice(open_.begin(), open_, found);
    return open_.front().file;
  }
  const ShardFacts& shard_facts = facts().shards[index];
  Shard& shard = shards_[index];
  const Hdf5Reader reader = open_shard(folder_, shard_facts, manifest_);
  shard.tokens = reader.array(kTokensArray);
  shard.checksums = reader.checksums(kTokensArray);
  LOG_IF(WARNING, shard.checksums.empty() && shard.is_checked.empty())
      << shard_facts.file << " was written without checksums: changed bytes would go unnoticed";
  shard.is_checked.resize(static_cast<std::size_t>(num_checksum_blocks(shard.tokens.size_bytes())));
  if (open_.size() == max_open_shards_) open_.pop_back();
  open_.push_front({index, File::open(folder_ / shard_facts.file)});
  return open_.front().file;
}

void TokenDataset::check_blocks(const File& file, std::size_t index, std::int64_t begin_byte,
                                std::int64_t end_byte) {
  for (std::int64_t block = begin_byte / kChecksumBlockBytes; block * kChecksumBlockBytes < end_byte; ++block)
    if (!shards_[index].is_checked[static_cast<std::size_t>(block)]) check_block(file, index, block);
}

void TokenDataset::check_block(const File& file, std::size_t index, std::int64_t block) {
  Shard& shard = shards_[index];
  const std::int64_t begin = block * kChecksumBlockBytes;
  block_.resize(static_cast<std::size_t>(std::min(kChecksumBlockBytes, shard.tokens.size_bytes() - begin)));
  file.read_at(shard.tokens.offset + begin, block_);
  if (!shard.checksums.empty() && checksum_of(block_) != shard.checksums[static_cast<std::size_t>(block)])
    throw_corrupt_block(file.path(), kTokensArray, block);

  const auto largest_of = [&]<typename Token>(Token) {
    Token largest = 0;
    for (std::size_t i = 0; i < block_.size(); i += sizeof(Token)) {
      Token token;
      std::memcpy(&token, block_.data() + i, sizeof(token));
      largest = std::max(largest, token);
    }
    return std::int64_t{largest};
  };
  const std::int64_t largest =
      shard.tokens.type == ElementType::kUInt16 ? largest_of(std::uint16_t{0}) : largest_of(std::uint32_t{0});
  if (largest >= vocab_size())
    throw UserError(
        file.path().string(),
        "has token " + std::to_string(largest) + " in a vocabulary of " + std::to_string(vocab_size()),
        "write it again with the right tokenizer");
  shard.is_checked[static_cast<std::size_t>(block)] = true;
}

void TokenDataset::verify() {
  for (std::size_t index = 0; index < shards_.size(); ++index) {
    const Hdf5Reader shard = open_shard(folder_, facts().shards[index], manifest_);
    for (const char* array : arrays_beside_tokens(manifest_.content)) shard.verify(array);
    if (manifest_.content == Content::kText) {
      std::vector<std::int64_t> starts;
      document_starts(shards_[index].begin, facts().shards[index].num_tokens, starts);
    }
    const File& file = open(index);
    for (std::size_t block = 0; block < shards_[index].is_checked.size(); ++block)
      check_block(file, index, static_cast<std::int64_t>(block));
  }
}

}  // namespace trireme
