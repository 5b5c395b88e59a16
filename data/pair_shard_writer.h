// The pairs of one split, written to shards.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/manifest.h"
#include "data/shard.h"

namespace trireme {

// A shard holds whole pairs, as many as fit into `shard_tokens` (at least one); README.md has the format. The
// tokens of one shard are kept in memory until it is full.
class PairShardWriter {
 public:
  static constexpr std::int64_t kMaxLength = 65535;  // tokens of a source, of a target

  explicit PairShardWriter(ShardOptions options);

  // REQUIRES: neither is empty nor longer than kMaxLength.
  void add(std::span<const std::int32_t> source, std::span<const std::int32_t> target);
  void count_bytes(std::int64_t num_bytes) { facts_.num_bytes += num_bytes; }
  // Writes what is left.
  SplitFacts finish();

 private:
  void write_shard();

  ShardOptions options_;
  SplitFacts facts_;
  // Of the shard to be written.
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint16_t> source_lengths_;
  std::vector<std::uint16_t> target_lengths_;
  std::vector<std::int64_t> target_counts_;  // of each token, in all targets
};

}  // namespace trireme
