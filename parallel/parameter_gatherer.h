// Parameters that lie in the shards of the data axis but while they are used.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/flat_range.h"
#include "parallel/sharded_layout.h"

namespace trireme {

class ParameterBuffer;

// Of what passes compute with, the flat operands: they keep their addresses; of each bucket of the layout a
// rank has its own part in memory, and the others' from use() to release() (ZeRO-3).  While one range is in
// use the next one, as long as it, is gathered already: upwards or downwards, as the last two uses went.
// Buckets that two ranges share are gathered once for both, when their uses overlap or follow each other.
//
// A rank's calls are the same in each microbatch, so a rank that has none to compute can repeat them.
class ParameterGatherer {
 public:
  // What was asked of the communicator, in order: buckets of operands that were gathered, and of gradients
  // that were summed.
  struct Call {
    enum class Kind : std::uint8_t { kGather, kReduce } kind;
    int bucket;
  };

  // All outlive the gatherer.  REQUIRES: parameters.shard(layout), with parts of whole pages.
  ParameterGatherer(ParameterBuffer& parameters, Communicator& communicator, const ShardedLayout& layout);

  // Work given to `stream` from here on sees the operands of the range.
  void use(const FlatRange& range, Stream stream);
  // Once for each use(), of the same range.
  void release(const FlatRange& range);
  // Drops what nobody uses.  Before operands change.
  void rest();
  // Drops all but this rank's parts, whoever wrote it, after the work given to `stream`; without one, after
  // all work of the device.  REQUIRES: nothing is in use.
  void keep_own(Stream stream = {});
  // Gathers a bucket for nobody, with the other ranks.
  void take_part(int bucket, Stream stream);

  void begin_microbatch();
  void note_reduction(int bucket) { calls_.push_back({Call::Kind::kReduce, bucket}); }
  const std::vector<Call>& calls() const { return calls_; }  // since begin_microbatch()

 private:
  struct Bucket {
    int num_users = 0;
    Communicator::Ticket ticket = 0;
    bool has_arrived = false;
  };

  void claim(const FlatRange& range, Stream stream);
  void unclaim(const FlatRange& range);
  Communicator::Ticket gather(int bucket, Stream stream);
  void drop_others(int bucket, Stream stream);
  // That of the same length which comes next.
  FlatRange ahead_of(const FlatRange& range);

  ParameterBuffer& parameters_;
  Communicator& communicator_;
  const ShardedLayout layout_;
  std::vector<Bucket> buckets_;
  std::vector<Call> calls_;
  FlatRange ahead_;  // gathered for the next use()
  std::int64_t last_begin_ = 0;
  Stream stream_;
};

}  // namespace trireme
