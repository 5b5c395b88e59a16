#include "parallel/gradient_reducer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace trireme {
namespace {

// Parameters with partial sums that wait for each other: about two blocks' norms.
constexpr std::size_t kMostHeld = 8;

}  // namespace

GradientReducer::GradientReducer(const ParameterBuffer& parameters, Communicator& communicator,
                                 std::int64_t bucket_bytes)
    : GradientReducer(parameters, communicator,
                      all_reduce_buckets(parameters, communicator, bucket_bytes, DType::kFloat32)) {}

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
  CHECK(!is_last_microbatch_) << "begin() after the last microbatch, before finish()";
  if (counting_) {
    sum_partial(held_, stream_);
    check_all_marked();
  }
  is_last_microbatch_ = is_last_microbatch;
  reduction_->begin_microbatch();
  counting_ = is_last_microbatch || reduction_->every_microbatch();
  if (!counting_) return;
  num_left_ = buckets_.size();
  ready_.assign(ready_.size(), false);
  for (Bucket& bucket : buckets_) bucket.num_waiting = bucket.num_parameters;
}

void GradientReducer::mark_ready(const Parameter& parameter, Stream stream) {
  if (!counting_ || more_to_come_) return;
  const auto index = static_cast<std::size_t>(parameter.index);
  CHECK(!ready_[index]) << parameter.name << " is marked ready twice";
  ready_[index] = true;
  stream_ = stream;
  const auto of_kind = [&](bool spans_stages) {
    return std::any_of(parameter.replicas.begin(), parameter.replicas.end(), [=](const Replica& replica) {
      return replica.is_partial && replica.spans_stages == spans_stages;
    });
  };
  if (of_kind(/*spans_stages=*/true)) {
    held_for_stages_.push_back(&parameter);
  } else if (of_kind(/*spans_stages=*/false)) {
    held_.push_back(&parameter);
    if (held_.size() == kMostHeld) sum_partial(held_, stream);
  } else {
    complete(parameter, stream);
  }
}

void GradientReducer::sum_partial(std::vector<const Parameter*>& held, Stream stream) {
  // Groups in the order in which they come up, which is the same on all their ranks.
  std::vector<std::pair<Communicator*, std::vector<Tensor>>> sums;
  for (const Parameter* const parameter : held) {
    const Tensor flat = parameter->gradient.view({parameter->shape.num_elements()});
    for (const Replica& replica : parameter->replicas) {
      if (!replica.is_partial) continue;
      auto of_group = std::find_if(sums.begin(), sums.end(),
                                   [&](const auto& other) { return other.first == replica.group; });
      if (of_group == sums.end()) of_group = sums.insert(sums.end(), {replica.group, {}});
      of_group->second.push_back(flat.slice(0, replica.elements.begin, replica.elements.end));
    }
  }
  for (const auto& [group, gradients] : sums)
    group->wait(group->all_reduce(gradients, ReduceOp::kSum, stream), stream);
  for (const Parameter* const parameter : held) complete(*parameter, stream);
  held.clear();
}

void GradientReducer::complete(const Parameter& parameter, Stream stream) {
  const auto [begin, end] = buckets_of_parameter_[static_cast<std::size_t>(parameter.index)];
  for (std::size_t bucket = begin; bucket < end; ++bucket) --buckets_[bucket].num_waiting;
  start_full_buckets(stream);
}

void GradientReducer::start_full_buckets(Stream stream) {
  while (num_left_ > 0 && buckets_[num_left_ - 1].num_waiting == 0) {
    complete_until(reduction_->most_under_way() - 1, stream);
    --num_left_;
    under_way_.push_back({num_left_, reduction_->start(num_left_, stream)});
  }
  // The next microbatch writes to the same buckets.
  if (num_left_ == 0 && reduction_->every_microbatch()) complete_until(0, stream);
}

void GradientReducer::complete_until(std::size_t num_under_way, Stream stream) {
  if (under_way_.size() <= num_under_way) return;
  // One wait is for all before it.
  communicator_.wait(under_way_[under_way_.size() - num_under_way - 1].ticket, stream);
  while (under_way_.size() > num_under_way) {
    reduction_->complete(under_way_.front().bucket, stream);
    under_way_.pop_front();
  }
}

void GradientReducer::sit_out(std::int64_t microbatches, Stream stream) {
  CHECK(is_last_microbatch_) << "sit_out() before the last microbatch";
  if (!reduction_->every_microbatch()) return;
  sum_partial(held_, stream);
  check_all_marked();
  for (; microbatches > 0; --microbatches) reduction_->sit_out(stream);
}

void GradientReducer::check_all_marked() const {
  for (const Parameter& parameter : parameters_.parameters()) {
    CHECK(ready_[static_cast<std::size_t>(parameter.index)]) << parameter.name << " was not marked ready";
  }
}

void GradientReducer::finish(Stream stream) {
  CHECK(is_last_microbatch_) << "finish() without begin() of the last microbatch";
  sum_partial(held_, stream);
  sum_partial(held_for_stages_, stream);
  check_all_marked();
  complete_until(0, stream);
  counting_ = is_last_microbatch_ = false;
}

}  // namespace trireme
