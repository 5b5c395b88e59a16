// Which part of a flat buffer each rank of the data axis owns, when optimizer state is sharded.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/paged_buffer.h"
#include "parallel/flat_range.h"

namespace trireme {

// Cuts a buffer of `num_elements` into buckets from its end, as backward fills it, and each bucket into equal
// parts, one per rank, of a multiple of `alignment` elements.  So a bucket is reduce-scattered and gathered
// by one call with no copy, wherever parameters begin and end, and what a rank owns of it is contiguous.  The
// buffer is padded at its end.
//
//     | bucket 0 ......| bucket 1 ......| bucket 2 ...... pad|     3 buckets, 2 ranks; backward fills 2 first
//     | r0 ... | r1 ...| r0 ... | r1 ...| r0 ...  | r1 ... pad|
class ShardedLayout {
 public:
  static constexpr std::int64_t kAlignmentElements = 64;
  // Elements of a page of PagedBuffer: with parts of whole pages each comes and goes by itself.  Of several
  // types the narrowest has most, and those are whole pages of the others, too.
  static std::int64_t page_elements(Device device, DType dtype = DType::kFloat32) {
    return PagedBuffer::page_bytes(device) / size_bytes(dtype);
  }

  // Buckets have about `bucket_elements`: that rounded up to `alignment` per rank; the first one may be
  // smaller.
  ShardedLayout(std::int64_t num_elements, int num_ranks, std::int64_t bucket_elements,
                std::int64_t alignment = kAlignmentElements);

  std::int64_t num_elements() const { return num_elements_; }
  std::int64_t padded_elements() const { return padded_elements_; }  // what the flat buffers need to have
  std::int64_t elements_per_rank() const { return padded_elements_ / num_ranks_; }
  int num_ranks() const { return num_ranks_; }
  int num_buckets() const { return num_buckets_; }

  FlatRange bucket(int bucket) const;
  // What `rank` owns of it, in the flat buffer; and where that lies in the rank's own memory, which has its
  // parts of all buckets one behind the other.
  FlatRange part(int bucket, int rank) const;
  FlatRange part_in_shard(int bucket) const;
  // Of the bucket what lies before the rank's part, and behind it.
  std::array<FlatRange, 2> parts_of_others(int bucket, int rank) const;
  // All that `rank` owns, in the flat buffer, without padding.
  std::vector<FlatRange> parts_of(int rank) const;
  // The buckets that `range` of the flat buffer touches, as [begin, end).
  FlatRange buckets_of(const FlatRange& range) const;

 private:
  std::int64_t num_elements_;
  int num_ranks_;
  std::int64_t padded_elements_;
  std::int64_t bucket_elements_;
  std::int64_t first_bucket_elements_;
  int num_buckets_;
};

}  // namespace trireme
