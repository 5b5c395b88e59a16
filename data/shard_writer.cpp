#include "data/shard_writer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include <glog/logging.h>

#include "data/hdf5_file.h"
#include "data/shard.h"

namespace trireme {
namespace {

constexpr std::size_t kPieceTokens = std::size_t{1} << 18;

std::string shard_name(const std::string& split, std::size_t index) {
  char number[16];
  std::snprintf(number, sizeof(number), "_%05zu.h5", index);
  return split + number;
}

// -sum p ln p
double entropy_of(const std::vector<std::int64_t>& counts, std::int64_t total) {
  double entropy = 0.0;
  for (const std::int64_t count : counts) {
    const double share = static_cast<double>(count) / static_cast<double>(total);
    if (count > 0) entropy -= share * std::log(share);
  }
  return entropy;
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

ShardWriter::ShardWriter(Options options)
    : options_(std::move(options)), counts_(static_cast<std::size_t>(options_.vocab_size)) {
  CHECK_GT(options_.shard_tokens, 0);
}

void ShardWriter::begin_document() {
  document_offsets_.push_back(tokens_.size());
  ++facts_.num_documents;
}

void ShardWriter::append(std::span<const std::int32_t> tokens) {
  for (const std::int32_t token : tokens) ++counts_[static_cast<std::size_t>(token)];
  while (!tokens.empty()) {
    const std::size_t room = static_cast<std::size_t>(options_.shard_tokens) - tokens_.size();
    const auto part = tokens.first(std::min(tokens.size(), room));
    tokens_.insert(tokens_.end(), part.begin(), part.end());
    tokens = tokens.subspan(part.size());
    if (part.size() == room) write_shard();
  }
}

void ShardWriter::write_shard() {
  ShardFacts shard;
  shard.file = shard_name(options_.split, facts_.shards.size());
  shard.num_tokens = static_cast<std::int64_t>(tokens_.size());
  shard.num_documents = static_cast<std::int64_t>(document_offsets_.size());
  const std::filesystem::path path = options_.folder / shard.file;
  Hdf5Writer writer(path);
  writer.set_attribute("format", std::string(kShardFormat));
  writer.set_attribute("split", options_.split);
  writer.set_attribute("tokenizer", options_.tokenizer);
  writer.set_attribute("vocab_size", options_.vocab_size);
  if (options_.vocab_size <= 65536) {
    write_tokens<std::uint16_t>(writer, tokens_);
  } else {
    write_tokens<std::uint32_t>(writer, tokens_);
  }
  writer.write<std::uint64_t>(kDocumentOffsetsArray, document_offsets_);
  writer.commit();
  const Hdf5Reader written(path);
  shard.size_bytes = written.file().size_bytes();
  shard.checksum = shard_checksum(written);
  facts_.num_tokens += shard.num_tokens;
  facts_.shards.push_back(std::move(shard));
  tokens_.clear();
  document_offsets_.clear();
}

SplitFacts ShardWriter::finish() {
  if (!tokens_.empty()) write_shard();
  facts_.unigram_entropy = entropy_of(counts_, facts_.num_tokens);
  return std::move(facts_);
}

}  // namespace trireme
