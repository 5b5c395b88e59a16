#include "data/shard_writer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "data/shard.h"

namespace trireme {
ShardWriter::ShardWriter(ShardOptions options)
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
  ShardFacts shard = trireme::write_shard(
      options_, Content::kText, facts_.shards.size(), tokens_,
      [&](Hdf5Writer& writer) { writer.write<std::uint64_t>(kDocumentOffsetsArray, document_offsets_); });
  shard.num_documents = static_cast<std::int64_t>(document_offsets_.size());
  facts_.num_tokens += shard.num_tokens;
  facts_.shards.push_back(std::move(shard));
  tokens_.clear();
  document_offsets_.clear();
}

SplitFacts ShardWriter::finish() {
  if (!tokens_.empty()) write_shard();
  facts_.unigram_entropy = entropy_of(counts_);
  return std::move(facts_);
}

}  // namespace trireme
