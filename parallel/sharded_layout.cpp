#include "parallel/sharded_layout.h"

#include <algorithm>

#include <glog/logging.h>

namespace trireme {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

ShardedLayout::ShardedLayout(std::int64_t num_elements, int num_ranks, std::int64_t bucket_elements,
                             std::int64_t alignment)
    : num_elements_(num_elements), num_ranks_(num_ranks) {
  CHECK_GT(num_elements, 0);
  CHECK_GT(num_ranks, 0);
  CHECK_GT(bucket_elements, 0);
  CHECK_GT(alignment, 0);
  const std::int64_t unit = alignment * num_ranks;
  padded_elements_ = round_up(num_elements, unit);
  bucket_elements_ = std::min(padded_elements_, round_up(bucket_elements, unit));
  num_buckets_ = static_cast<int>((padded_elements_ + bucket_elements_ - 1) / bucket_elements_);
  first_bucket_elements_ = padded_elements_ - (num_buckets_ - 1) * bucket_elements_;
}

FlatRange ShardedLayout::bucket(int bucket) const {
  CHECK(0 <= bucket && bucket < num_buckets_) << "bucket " << bucket << " of " << num_buckets_;
  const std::int64_t end = first_bucket_elements_ + bucket * bucket_elements_;
  return {bucket == 0 ? 0 : end - bucket_elements_, end};
}

FlatRange ShardedLayout::part(int bucket, int rank) const {
  CHECK(0 <= rank && rank < num_ranks_) << "rank " << rank << " of " << num_ranks_;
  const FlatRange whole = this->bucket(bucket);
  const std::int64_t size = whole.size() / num_ranks_;
  return {whole.begin + rank * size, whole.begin + (rank + 1) * size};
}

FlatRange ShardedLayout::part_in_shard(int bucket) const {
  const FlatRange whole = this->bucket(bucket);
  return {whole.begin / num_ranks_, whole.end / num_ranks_};
}

std::array<FlatRange, 2> ShardedLayout::parts_of_others(int bucket, int rank) const {
  const FlatRange all = this->bucket(bucket);
  const FlatRange own = part(bucket, rank);
  return {FlatRange{all.begin, own.begin}, FlatRange{own.end, all.end}};
}

std::vector<FlatRange> ShardedLayout::parts_of(int rank) const {
  std::vector<FlatRange> parts;
  for (int bucket = 0; bucket < num_buckets_; ++bucket) {
    const FlatRange part = this->part(bucket, rank);
    const std::int64_t end = std::min(part.end, num_elements_);
    if (part.begin < end) parts.push_back({part.begin, end});
  }
  return parts;
}

FlatRange ShardedLayout::buckets_of(const FlatRange& range) const {
  CHECK(0 <= range.begin && range.begin < range.end && range.end <= padded_elements_);
  const auto bucket_of = [&](std::int64_t element) {
    return element < first_bucket_elements_ ? 0 : 1 + (element - first_bucket_elements_) / bucket_elements_;
  };
  return {bucket_of(range.begin), bucket_of(range.end - 1) + 1};
}

}  // namespace trireme
