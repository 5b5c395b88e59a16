// The tokens of one split, written to shards.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/manifest.h"
#include "data/shard.h"

namespace trireme {

// Shards are SPLIT_00000.h5, SPLIT_00001.h5 ..., each of `shard_tokens` tokens, the last one shorter;
// README.md has their format.  A document may go on in the next shard.  The tokens of one shard are kept in
// memory until it is full.
class ShardWriter {
 public:
  explicit ShardWriter(ShardOptions options);

  // The next token begins a document.
  void begin_document();
  void append(std::span<const std::int32_t> tokens);
  void count_bytes(std::int64_t num_bytes) { facts_.num_bytes += num_bytes; }
  // Writes what is left.
  SplitFacts finish();

 private:
  void write_shard();

  ShardOptions options_;
  SplitFacts facts_;
  std::vector<std::int32_t> tokens_;             // of the shard to be written
  std::vector<std::uint64_t> document_offsets_;  // of the documents that begin in it
  std::vector<std::int64_t> counts_;             // of each token, in all shards
};

}  // namespace trireme
