#include "parallel/gradient_reducer.h"

#include <algorithm>

#include <glog/logging.h>

namespace trireme {

GradientReducer::GradientReducer(const ParameterBuffer& parameters, Communicator& communicator,
                                 std::int64_t bucket_bytes, int ranks_per_layer)
    : parameters_(parameters),
      communicator_(communicator),
      bucket_of_parameter_(parameters.parameters().size()),
      ready_(parameters.parameters().size()) {
  CHECK_GT(bucket_bytes, 0);
  CHECK(parameters.gradients()) << "a reducer needs the gradient buffer of ParameterBuffer::allocate()";
  const std::int64_t bucket_elements = bucket_bytes / size_bytes(DType::kFloat32) * ranks_per_layer;
  std::int64_t elements = 0;  // of the whole model's parameters in the bucket that is being filled
  std::int64_t end = parameters.num_elements();  // of the bucket that is being filled
  std::int64_t begin = end;
  const auto close_bucket = [&] {
    buckets_.back().gradients = parameters.gradients().slice(0, begin, end);
    end = begin;
  };
  for (auto parameter = parameters.parameters().rbegin(); parameter != parameters.parameters().rend();
       ++parameter) {
    const std::int64_t more = parameter->part.whole.num_elements();
    if (begin < end && elements + more > bucket_elements) close_bucket();
    if (begin == end) {
      buckets_.emplace_back();
      elements = 0;
    }
    elements += more;
    begin = parameter->offset;
    ++buckets_.back().num_parameters;
    add_partial(buckets_.back(), *parameter);
    bucket_of_parameter_[static_cast<std::size_t>(parameter->index)] = num_buckets() - 1;
  }
  if (begin < end) close_bucket();
}

void GradientReducer::add_partial(Bucket& bucket, const Parameter& parameter) const {
  for (const Replica& replica : parameter.replicas) {
    if (!replica.is_partial) continue;
    bucket.spans_stages |= replica.spans_stages;
    auto sums = std::find_if(bucket.partial.begin(), bucket.partial.end(),
                             [&](const PartialSums& other) { return other.group == replica.group; });
    if (sums == bucket.partial.end())
      sums = bucket.partial.insert(sums, {.group = replica.group, .gradients = {}});
    sums->gradients.push_back(parameters_.gradients().slice(0, parameter.offset + replica.elements.begin,
                                                            parameter.offset + replica.elements.end));
  }
}

void GradientReducer::begin(bool is_last_microbatch) {
  CHECK(!counting_) << "begin() after the last microbatch, before finish()";
  if (!is_last_microbatch) return;
  counting_ = true;
  next_bucket_ = 0;
  last_ticket_ = 0;
  ready_.assign(ready_.size(), false);
  for (Bucket& bucket : buckets_) bucket.num_waiting = bucket.num_parameters;
}

void GradientReducer::mark_ready(const Parameter& parameter, Stream stream) {
  if (!counting_ || more_to_come_) return;
  const auto index = static_cast<std::size_t>(parameter.index);
  CHECK(!ready_[index]) << parameter.name << " is marked ready twice";
  ready_[index] = true;
  --buckets_[static_cast<std::size_t>(bucket_of_parameter_[index])].num_waiting;
  start_full_buckets(stream);
}

void GradientReducer::start_full_buckets(Stream stream) {
  for (; next_bucket_ < buckets_.size(); ++next_bucket_) {
    const Bucket& bucket = buckets_[next_bucket_];
    if (bucket.spans_stages) continue;
    if (bucket.num_waiting > 0) return;
    start(bucket, stream);
  }
}

void GradientReducer::start(const Bucket& bucket, Stream stream) {
  sum_partial(bucket, stream);
  last_ticket_ = communicator_.all_reduce(bucket.gradients, ReduceOp::kSum, stream);
}

void GradientReducer::sum_partial(const Bucket& bucket, Stream stream) {
  for (const auto& [group, gradients] : bucket.partial)
    group->wait(group->all_reduce(gradients, ReduceOp::kSum, stream), stream);
}

void GradientReducer::finish(Stream stream) {
  CHECK(counting_) << "finish() without begin() of the last microbatch";
  for (const Parameter& parameter : parameters_.parameters()) {
    CHECK(ready_[static_cast<std::size_t>(parameter.index)]) << parameter.name << " was not marked ready";
  }
  for (const Bucket& bucket : buckets_) {
    if (bucket.spans_stages) start(bucket, stream);
  }
  communicator_.wait(last_ticket_, stream);
  counting_ = false;
}

}  // namespace trireme
