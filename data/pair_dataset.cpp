#include "data/pair_dataset.h"

#include <algorithm>

#include <glog/logging.h>

#include "data/shard.h"
#include "data/tokenizer/tokenizer.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::size_t kPairsPerPosition =
    16;  // half a byte of memory a pair, and no more than 15 lengths to add

std::int64_t tokens_in(const PairLengths& lengths) {
  return std::int64_t{lengths.source} + lengths.target;
}

}  // namespace

PairDataset::PairDataset(const std::filesystem::path& folder, const std::string& split,
                         std::size_t max_open_shards)
    : tokens_(folder, split, max_open_shards, Content::kPairs),
      end_(load_tokenizer(folder / kTokenizerFile)->end_of_document()) {
  lengths_.reserve(static_cast<std::size_t>(facts().num_documents));
  for (const ShardFacts& shard : facts().shards) read_lengths(shard);
  std::int64_t position = 0;
  for (std::size_t pair = 0; pair < lengths_.size(); ++pair) {
    if (pair % kPairsPerPosition == 0) positions_.push_back(position);
    position += tokens_in(lengths_[pair]);
  }
}

void PairDataset::read_lengths(const ShardFacts& shard) {
  const Hdf5Reader reader = open_shard(folder(), shard, tokens_.manifest());
  const auto sources = reader.read_all<std::uint16_t>(kSourceLengthsArray);
  const auto targets = reader.read_all<std::uint16_t>(kTargetLengthsArray);
  const auto fail = [&](const std::string& what) {
    throw UserError(reader.file().path().string(), what,
                    "bring back the right file or prepare the data again");
  };
  const auto num_pairs = static_cast<std::size_t>(shard.num_documents);
  if (sources.size() != num_pairs || targets.size() != num_pairs)
    fail("has lengths of " + std::to_string(sources.size()) + " sources and " +
         std::to_string(targets.size()) + " targets where the manifest names " + std::to_string(num_pairs) +
         " pairs");
  std::int64_t num_tokens = 0;
  for (std::size_t i = 0; i < num_pairs; ++i) {
    if (sources[i] == 0 || targets[i] == 0) fail("has an empty sentence, in pair " + std::to_string(i));
    lengths_.push_back({sources[i], targets[i]});
    num_tokens += tokens_in(lengths_.back());
  }
  if (num_tokens != shard.num_tokens)
    fail("has " + std::to_string(shard.num_tokens) + " tokens where the lengths of its pairs add up to " +
         std::to_string(num_tokens));
}

std::int64_t PairDataset::position_of(std::int64_t pair) const {
  const auto index = static_cast<std::size_t>(pair);
  std::int64_t position = positions_[index / kPairsPerPosition];
  for (std::size_t i = index - index % kPairsPerPosition; i < index; ++i) position += tokens_in(lengths_[i]);
  return position;
}

void PairDataset::read(std::int64_t pair, std::span<std::int32_t> source, std::span<std::int32_t> target) {
  CHECK(pair >= 0 && pair < num_pairs()) << "pair " << pair << " of " << num_pairs();
  const PairLengths lengths = lengths_[static_cast<std::size_t>(pair)];
  CHECK(source.size() == lengths.source && target.size() == lengths.target) << "pair " << pair;
  pair_.resize(source.size() + target.size());
  tokens_.read(position_of(pair), pair_);
  std::copy_n(pair_.begin(), source.size(), source.begin());
  std::copy_n(pair_.end() - static_cast<std::ptrdiff_t>(target.size()), target.size(), target.begin());
}

}  // namespace trireme
