// What is done with a bucket of gradients when all of it is there.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/parameter_buffer.h"
#include "parallel/parameter_gatherer.h"
#include "parallel/sharded_layout.h"

namespace trireme {

// A way to sum gradients over the data axis, bucket by bucket; GradientReducer says when.
class BucketReduction {
 public:
  virtual ~BucketReduction() = default;

  // Of the flat gradients, ascending; together all of them.
  virtual std::vector<FlatRange> buckets() const = 0;
  // Makes the sums zero, before a step.
  virtual void clear(Stream stream) = 0;
  // Whether buckets are reduced after each microbatch, not only after a step's last one.
  virtual bool every_microbatch() const { return false; }
  // How many buckets may be under way at a time.
  virtual std::size_t most_under_way() const { return buckets().size(); }
  // Before each microbatch.
  virtual void begin_microbatch() {}
  // Takes part in a microbatch of other ranks, with nothing to add.  REQUIRES: every_microbatch().
  virtual void sit_out(Stream /*stream*/) {}
  // Work given to `stream` from here on adds to gradients of the range, up to complete() of its buckets.
  virtual void expect(const FlatRange& /*range*/, Stream /*stream*/) {}
  // Begins to sum what the flat gradients have of a bucket, which belongs to it until complete().
  virtual Communicator::Ticket start(std::size_t bucket, Stream stream) = 0;
  // When its sum has arrived.
  virtual void complete(std::size_t bucket, Stream stream) = 0;
  // Flat, over all gradients.  After the step's last bucket the sum over all ranks, of what owned() says.
  virtual Tensor sums() const = 0;
  // What this rank has the sums of, ascending.
  virtual std::vector<FlatRange> owned() const = 0;
  // Memory that the sums take beside the gradients.
  virtual std::int64_t resident_bytes() const { return 0; }
};

// Gradients travel as `dtype`, see GradientWire.  What these are made of outlives them.

// Every rank gets all sums, in place.  Buckets are of whole parameters, of about `bucket_bytes`.
std::unique_ptr<BucketReduction> all_reduce_buckets(const ParameterBuffer& parameters,
                                                    Communicator& communicator, std::int64_t bucket_bytes,
                                                    DType dtype);

// Every rank gets the sums of its parts of the layout, in place, which moves half as much (ZeRO-1,
// Rajbhandari et al. 2020).  REQUIRES: parameters.shard(layout).
std::unique_ptr<BucketReduction> scatter_buckets(ParameterBuffer& parameters, Communicator& communicator,
                                                 const ShardedLayout& layout, DType dtype);

// The same in each microbatch, and added up in memory of the parts alone: that of the flat gradients is given
// back bucket by bucket (ZeRO-2), so that there is never more of it than backward has filled and not yet
// summed.
std::unique_ptr<BucketReduction> scatter_buckets_and_release(ParameterBuffer& parameters,
                                                             Communicator& communicator,
                                                             const ShardedLayout& layout, DType dtype);

// The same where values are in memory only while they are used (ZeRO-3); the gatherer outlives it.
std::unique_ptr<BucketReduction> scatter_buckets_and_release(ParameterBuffer& parameters,
                                                             Communicator& communicator,
                                                             const ShardedLayout& layout, DType dtype,
                                                             ParameterGatherer& gatherer);

}  // namespace trireme
