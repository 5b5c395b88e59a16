#include "parallel/parameter_gatherer.h"

#include <algorithm>

#include <glog/logging.h>

#include "parallel/parameter_buffer.h"

namespace trireme {

ParameterGatherer::ParameterGatherer(ParameterBuffer& parameters, Communicator& communicator,
                                     const ShardedLayout& layout)
    : parameters_(parameters),
      communicator_(communicator),
      layout_(layout),
      buckets_(static_cast<std::size_t>(layout.num_buckets())) {
  CHECK_EQ(parameters.padded_operands().num_elements(), layout.padded_elements());
  CHECK_EQ(communicator.size(), layout.num_ranks());
}

void ParameterGatherer::use(const FlatRange& range, Stream stream) {
  if (range.size() == 0) return;
  stream_ = stream;
  claim(range, stream);
  const FlatRange ahead = ahead_of(range);
  claim(ahead, stream);
  unclaim(ahead_);
  ahead_ = ahead;
  const FlatRange used = layout_.buckets_of(range);
  for (std::int64_t i = used.begin; i < used.end; ++i) {
    Bucket& bucket = buckets_[static_cast<std::size_t>(i)];
    if (!bucket.has_arrived) communicator_.wait(bucket.ticket, stream);
    bucket.has_arrived = true;
  }
}

FlatRange ParameterGatherer::ahead_of(const FlatRange& range) {
  const bool is_upwards = range.begin >= last_begin_;
  last_begin_ = range.begin;
  const std::int64_t end = layout_.padded_elements();
  return is_upwards ? FlatRange{range.end, std::min(end, range.end + range.size())}
                    : FlatRange{std::max<std::int64_t>(0, range.begin - range.size()), range.begin};
}

void ParameterGatherer::release(const FlatRange& range) {
  unclaim(range);
}

void ParameterGatherer::rest() {
  unclaim(ahead_);
  ahead_ = {};
  last_begin_ = 0;
}

void ParameterGatherer::begin_microbatch() {
  rest();
  calls_.clear();
}

void ParameterGatherer::claim(const FlatRange& range, Stream stream) {
  if (range.size() == 0) return;
  const FlatRange touched = layout_.buckets_of(range);
  for (std::int64_t i = touched.begin; i < touched.end; ++i) {
    Bucket& bucket = buckets_[static_cast<std::size_t>(i)];
    if (bucket.num_users++ > 0) continue;
    calls_.push_back({Call::Kind::kGather, static_cast<int>(i)});
    bucket.ticket = gather(static_cast<int>(i), stream);
    bucket.has_arrived = false;
  }
}

void ParameterGatherer::unclaim(const FlatRange& range) {
  if (range.size() == 0) return;
  const FlatRange touched = layout_.buckets_of(range);
  for (std::int64_t i = touched.begin; i < touched.end; ++i) {
    Bucket& bucket = buckets_[static_cast<std::size_t>(i)];
    CHECK_GT(bucket.num_users, 0) << "bucket " << i << " is released more often than it is used";
    if (--bucket.num_users > 0) continue;
    if (!bucket.has_arrived) communicator_.wait(bucket.ticket, stream_);
    drop_others(static_cast<int>(i), stream_);
  }
}

Communicator::Ticket ParameterGatherer::gather(int bucket, Stream stream) {
  const Tensor operands = parameters_.padded_operands();
  const auto [begin, end] = layout_.bucket(bucket);
  const auto [own_begin, own_end] = layout_.part(bucket, communicator_.rank());
  parameters_.acquire_operands({begin, end}, stream);
  return communicator_.all_gather(operands.slice(0, begin, end), operands.slice(0, own_begin, own_end),
                                  stream);
}

void ParameterGatherer::drop_others(int bucket, Stream stream) {
  for (const FlatRange& part : layout_.parts_of_others(bucket, communicator_.rank()))
    parameters_.release_operands(part, stream);
}

void ParameterGatherer::keep_own(Stream stream) {
  for (int bucket = 0; bucket < layout_.num_buckets(); ++bucket) {
    CHECK_EQ(buckets_[static_cast<std::size_t>(bucket)].num_users, 0) << "bucket " << bucket << " is in use";
    drop_others(bucket, stream);
  }
}

void ParameterGatherer::take_part(int bucket, Stream stream) {
  communicator_.wait(gather(bucket, stream), stream);
  drop_others(bucket, stream);
}

}  // namespace trireme
