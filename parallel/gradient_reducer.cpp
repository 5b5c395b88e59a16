#include "parallel/gradient_reducer.h"

#include <utility>

#include <glog/logging.h>

namespace trireme {

GradientReducer::GradientReducer(const ParameterBuffer& parameters, Communicator& communicator,
                                 std::int64_t bucket_bytes)
    : GradientReducer(parameters, communicator, all_reduce_buckets(parameters, communicator, bucket_bytes)) {}

GradientReducer::GradientReducer(const ParameterBuffer& parameters, Communicator& communicator,
                                 std::unique_ptr<BucketReduction> reduction)
    : parameters_(parameters),
      communicator_(communicator),
      reduction_(std::move(reduction)),
      ready_(parameters.parameters().size()) {
  CHECK(parameters.gradients()) << "a reducer needs the gradient buffer of ParameterBuffer::allocate()";
  const std::vector<FlatRange> ranges = reduction_->buckets();
  buckets_.resize(ranges.size());
  std::size_t first = 0;  // that the parameter lies in
  for (const Parameter& parameter : parameters.parameters()) {
    while (ranges[first].end <= parameter.offset) ++first;
    const std::int64_t end = parameter.offset + parameter.shape.num_elements();
    std::size_t last = first;
    while (ranges[last].end < end) ++last;
    buckets_of_parameter_.push_back({first, last + 1});
    for (std::size_t bucket = first; bucket <= last; ++bucket) ++buckets_[bucket].num_parameters;
  }
}

void GradientReducer::begin(bool is_last_microbatch) {
  CHECK(!counting_) << "begin() after the last microbatch, before finish()";
  if (!is_last_microbatch) return;
  counting_ = true;
  num_left_ = buckets_.size();
  last_ticket_ = 0;
  ready_.assign(ready_.size(), false);
  for (Bucket& bucket : buckets_) bucket.num_waiting = bucket.num_parameters;
}

void GradientReducer::mark_ready(const Parameter& parameter, Stream stream) {
  if (!counting_ || more_to_come_) return;
  const auto index = static_cast<std::size_t>(parameter.index);
  CHECK(!ready_[index]) << parameter.name << " is marked ready twice";
  ready_[index] = true;
  const auto [begin, end] = buckets_of_parameter_[index];
  for (std::size_t bucket = begin; bucket < end; ++bucket) --buckets_[bucket].num_waiting;
  start_full_buckets(stream);
}

void GradientReducer::start_full_buckets(Stream stream) {
  while (num_left_ > 0 && buckets_[num_left_ - 1].num_waiting == 0) {
    last_ticket_ = reduction_->start(--num_left_, stream);
  }
}

void GradientReducer::finish(Stream stream) {
  CHECK(counting_) << "finish() without begin() of the last microbatch";
  for (const Parameter& parameter : parameters_.parameters()) {
    CHECK(ready_[static_cast<std::size_t>(parameter.index)]) << parameter.name << " was not marked ready";
  }
  start_full_buckets(stream);
  communicator_.wait(last_ticket_, stream);
  counting_ = false;
}

}  // namespace trireme
