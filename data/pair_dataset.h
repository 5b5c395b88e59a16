// One split of a prepared folder of pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/token_dataset.h"

namespace trireme {

// Tokens of both sides of a pair, without any end.
struct PairLengths {
  std::uint16_t source = 0;
  std::uint16_t target = 0;
  bool operator==(const PairLengths&) const = default;
};

// Random access to any pair costs one pread.  The lengths of all pairs are read when the split is opened and
// stay in memory, four and a half bytes a pair; tokens are checked when they are first touched, as
// TokenDataset does it.  Whatever is wrong with a shard is a UserError by its name.
//
// One thread at a time.
class PairDataset {
 public:
  // UserErrors: a data set of text, what TokenDataset refuses, lengths that don't add up to the tokens.
  PairDataset(const std::filesystem::path& folder, const std::string& split,
              std::size_t max_open_shards = TokenDataset::kDefaultMaxOpenShards);

  // The tokens of a pair.  REQUIRES: 0 <= pair < num_pairs(), room for exactly its lengths.
  void read(std::int64_t pair, std::span<std::int32_t> source, std::span<std::int32_t> target);
  // Reads everything and checks everything.
  void verify() { tokens_.verify(); }

  std::int64_t num_pairs() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::span<const PairLengths> lengths() const { return lengths_; }
  std::int64_t vocab_size() const { return tokens_.vocab_size(); }
  // The token that ends a sentence; it isn't stored.
  std::int32_t end() const { return end_; }

  // As of TokenDataset.
  const std::string& id() const { return tokens_.id(); }
  const std::string& tokenizer() const { return tokens_.tokenizer(); }
  const SplitFacts& facts() const { return tokens_.facts(); }
  const std::filesystem::path& folder() const { return tokens_.folder(); }
  const std::string& split() const { return tokens_.split(); }

 private:
  void read_lengths(const ShardFacts& shard);
  std::int64_t position_of(std::int64_t pair) const;

  TokenDataset tokens_;
  std::int32_t end_ = 0;
  std::vector<PairLengths> lengths_;
  std::vector<std::int64_t> positions_;  // in tokens_, of every so many-th pair
  std::vector<std::int32_t> pair_;       // scratch
};

}  // namespace trireme
