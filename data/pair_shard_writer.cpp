#include "data/pair_shard_writer.h"

#include <utility>

#include <glog/logging.h>

namespace trireme {

PairShardWriter::PairShardWriter(ShardOptions options)
    : options_(std::move(options)), target_counts_(static_cast<std::size_t>(options_.vocab_size)) {
  CHECK_GT(options_.shard_tokens, 0);
}

void PairShardWriter::add(std::span<const std::int32_t> source, std::span<const std::int32_t> target) {
  for (const auto& side : {source, target})
    CHECK(!side.empty() && side.size() <= static_cast<std::size_t>(kMaxLength)) << side.size();
  const std::size_t size = tokens_.size() + source.size() + target.size();
  if (!tokens_.empty() && size > static_cast<std::size_t>(options_.shard_tokens)) write_shard();
  tokens_.insert(tokens_.end(), source.begin(), source.end());
  tokens_.insert(tokens_.end(), target.begin(), target.end());
  source_lengths_.push_back(static_cast<std::uint16_t>(source.size()));
  target_lengths_.push_back(static_cast<std::uint16_t>(target.size()));
  facts_.num_source_tokens += static_cast<std::int64_t>(source.size());
  for (const std::int32_t token : target) ++target_counts_[static_cast<std::size_t>(token)];
}

void PairShardWriter::write_shard() {
  ShardFacts shard =
      trireme::write_shard(options_, Content::kPairs, facts_.shards.size(), tokens_, [&](Hdf5Writer& writer) {
        writer.write<std::uint16_t>(kSourceLengthsArray, source_lengths_);
        writer.write<std::uint16_t>(kTargetLengthsArray, target_lengths_);
      });
  shard.num_documents = static_cast<std::int64_t>(source_lengths_.size());
  facts_.num_tokens += shard.num_tokens;
  facts_.num_documents += shard.num_documents;
  facts_.shards.push_back(std::move(shard));
  tokens_.clear();
  source_lengths_.clear();
  target_lengths_.clear();
}

SplitFacts PairShardWriter::finish() {
  if (!tokens_.empty()) write_shard();
  target_counts_.push_back(
      facts_.num_documents);  // ends of targets: they aren't stored, but will be predicted
  facts_.unigram_entropy = entropy_of(target_counts_);
  return std::move(facts_);
}

}  // namespace trireme
