#include "parallel/bucket_reduction.h"

#include <algorithm>
#include <optional>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "parallel/gradient_wire.h"

namespace trireme {
namespace {

Tensor at(const Tensor& flat, const FlatRange& range) {
  return flat.slice(0, range.begin, range.end);
}

std::int64_t largest(const std::vector<FlatRange>& ranges) {
  std::int64_t size = 0;
  for (const FlatRange& range : ranges) size = std::max(size, range.size());
  return size;
}

class AllReduceBuckets final : public BucketReduction {
 public:
  AllReduceBuckets(const ParameterBuffer& parameters, Communicator& communicator, std::int64_t bucket_bytes,
                   DType dtype)
      : parameters_(parameters) {
    CHECK_GT(bucket_bytes, 0);
    const std::int64_t bucket_elements = bucket_bytes / size_bytes(DType::kFloat32);
    std::int64_t end = parameters.num_elements();  // of the bucket that is being filled
    std::int64_t begin = end;
    const auto close_bucket = [&] {
      if (begin < end) buckets_.push_back({begin, end});
      end = begin;
    };
    for (auto parameter = parameters.parameters().rbegin(); parameter != parameters.parameters().rend();
         ++parameter) {
      if (end - parameter->offset > bucket_elements) close_bucket();
      begin = parameter->offset;
    }
    close_bucket();
    std::reverse(buckets_.begin(), buckets_.end());
    wire_.emplace(communicator, dtype, largest(buckets_), parameters.gradients().device());
  }

  std::vector<FlatRange> buckets() const override { return buckets_; }
  void clear(Stream stream) override { fill(parameters_.gradients(), 0.0F, stream); }
  Communicator::Ticket start(std::size_t bucket, Stream stream) override {
    return wire_->all_reduce(at(parameters_.gradients(), buckets_[bucket]), stream);
  }
  void complete(std::size_t /*bucket*/, Stream stream) override { wire_->arrived(stream); }
  std::size_t most_under_way() const override {
    return wire_->is_in_place() ? buckets_.size() : GradientWire::kSlots;
  }
  Tensor sums() const override { return parameters_.gradients(); }
  std::vector<FlatRange> owned() const override { return {{0, parameters_.num_elements()}}; }

 private:
  const ParameterBuffer& parameters_;
  std::vector<FlatRange> buckets_;
  std::optional<GradientWire> wire_;
};

class ScatterBuckets final : public BucketReduction {
 public:
  ScatterBuckets(const ParameterBuffer& parameters, Communicator& communicator, const ShardedLayout& layout,
                 DType dtype)
      : parameters_(parameters),
        communicator_(communicator),
        layout_(layout),
        wire_(communicator, dtype, largest(ScatterBuckets::buckets()), parameters.gradients().device()) {
    CHECK_EQ(parameters.padded_gradients().num_elements(), layout.padded_elements());
    CHECK_EQ(communicator.size(), layout.num_ranks());
  }

  std::vector<FlatRange> buckets() const override {
    std::vector<FlatRange> buckets;
    for (int bucket = 0; bucket < layout_.num_buckets(); ++bucket) buckets.push_back(layout_.bucket(bucket));
    return buckets;
  }
  void clear(Stream stream) override { fill(parameters_.gradients(), 0.0F, stream); }
  Communicator::Ticket start(std::size_t bucket, Stream stream) override {
    const Tensor all = parameters_.padded_gradients();
    const int index = static_cast<int>(bucket);
    return wire_.reduce_scatter(at(all, layout_.part(index, communicator_.rank())),
                                at(all, layout_.bucket(index)), stream);
  }
  void complete(std::size_t /*bucket*/, Stream stream) override { wire_.arrived(stream); }
  std::size_t most_under_way() const override {
    return wire_.is_in_place() ? buckets().size() : GradientWire::kSlots;
  }
  Tensor sums() const override { return parameters_.gradients(); }
  std::vector<FlatRange> owned() const override { return layout_.parts_of(communicator_.rank()); }

 private:
  const ParameterBuffer& parameters_;
  Communicator& communicator_;
  const ShardedLayout layout_;
  GradientWire wire_;
};

class ReleasedBuckets : public BucketReduction {
 public:
  ReleasedBuckets(ParameterBuffer& parameters, Communicator& communicator, const ShardedLayout& layout,
                  DType dtype)
      : parameters_(parameters),
        communicator_(communicator),
        layout_(layout),
        scatter_(parameters, communicator, layout, dtype),
        memory_(layout.padded_elements() * size_bytes(DType::kFloat32), Pages::kSmall,
                parameters.gradients().device()),
        sums_(memory_.tensor(DType::kFloat32, {layout.padded_elements()})) {
    for (int bucket = 0; bucket < layout.num_buckets(); ++bucket) {
      const FlatRange part = layout.part(bucket, communicator.rank());
      memory_.acquire(part.begin * size_bytes(DType::kFloat32), part.end * size_bytes(DType::kFloat32),
                      Contents::kZeros);
    }
  }

  std::vector<FlatRange> buckets() const override { return scatter_.buckets(); }
  void clear(Stream stream) override {
    PagedBuffer::trim(sums_.device());
    for (const FlatRange& part : owned()) fill(at(sums_, part), 0.0F, stream);
  }
  bool every_microbatch() const override { return true; }
  std::size_t most_under_way() const override { return GradientWire::kSlots; }
  void sit_out(Stream stream) override {
    for (std::size_t bucket = buckets().size(); bucket-- > 0;) sit_out(bucket, stream);
  }
  void expect(const FlatRange& range, Stream stream) override {
    parameters_.acquire_gradients(range, stream);
  }
  // Elements that nobody has added to are in the sum, too.
  Communicator::Ticket start(std::size_t bucket, Stream stream) override {
    parameters_.acquire_gradients(layout_.bucket(static_cast<int>(bucket)), stream);
    return scatter_.start(bucket, stream);
  }
  void complete(std::size_t bucket, Stream stream) override {
    scatter_.complete(bucket, stream);
    const int index = static_cast<int>(bucket);
    const FlatRange part = layout_.part(index, communicator_.rank());
    accumulate(at(sums_, part), at(parameters_.padded_gradients(), part), stream);
    parameters_.release_gradients(layout_.bucket(index), stream);
  }
  Tensor sums() const override { return sums_.slice(0, 0, layout_.num_elements()); }
  std::vector<FlatRange> owned() const override { return scatter_.owned(); }
  std::int64_t resident_bytes() const override { return memory_.resident_bytes(); }

 protected:
  void sit_out(std::size_t bucket, Stream stream) {
    communicator_.wait(ReleasedBuckets::start(bucket, stream), stream);
    complete(bucket, stream);
  }

 private:
  ParameterBuffer& parameters_;
  Communicator& communicator_;
  const ShardedLayout layout_;
  ScatterBuckets scatter_;
  PagedBuffer memory_;
  Tensor sums_;  // padded
};

class GatheredBuckets final : public ReleasedBuckets {
 public:
  GatheredBuckets(ParameterBuffer& parameters, Communicator& communicator, const ShardedLayout& layout,
                  DType dtype, ParameterGatherer& gatherer)
      : ReleasedBuckets(parameters, communicator, layout, dtype), gatherer_(gatherer) {}

  void begin_microbatch() override { gatherer_.begin_microbatch(); }
  Communicator::Ticket start(std::size_t bucket, Stream stream) override {
    gatherer_.note_reduction(static_cast<int>(bucket));
    return ReleasedBuckets::start(bucket, stream);
  }
  // All ranks call the communicator in the same order, so it is that of the microbatch before.
  void sit_out(Stream stream) override {
    gatherer_.rest();
    for (const auto [kind, bucket] : gatherer_.calls()) {
      if (kind == ParameterGatherer::Call::Kind::kGather) {
        gatherer_.take_part(bucket, stream);
      } else {
        ReleasedBuckets::sit_out(static_cast<std::size_t>(bucket), stream);
      }
    }
  }

 private:
  ParameterGatherer& gatherer_;
};

}  // namespace

std::unique_ptr<BucketReduction> all_reduce_buckets(const ParameterBuffer& parameters,
                                                    Communicator& communicator, std::int64_t bucket_bytes,
                                                    DType dtype) {
  return std::make_unique<AllReduceBuckets>(parameters, communicator, bucket_bytes, dtype);
}

std::unique_ptr<BucketReduction> scatter_buckets(ParameterBuffer& parameters, Communicator& communicator,
                                                 const ShardedLayout& layout, DType dtype) {
  parameters.acquire_gradients({0, layout.padded_elements()}, {});
  return std::make_unique<ScatterBuckets>(parameters, communicator, layout, dtype);
}

std::unique_ptr<BucketReduction> scatter_buckets_and_release(ParameterBuffer& parameters,
                                                             Communicator& communicator,
                                                             const ShardedLayout& layout, DType dtype) {
  return std::make_unique<ReleasedBuckets>(parameters, communicator, layout, dtype);
}

std::unique_ptr<BucketReduction> scatter_buckets_and_release(ParameterBuffer& parameters,
                                                             Communicator& communicator,
                                                             const ShardedLayout& layout, DType dtype,
                                                             ParameterGatherer& gatherer) {
  return std::make_unique<GatheredBuckets>(parameters, communicator, layout, dtype, gatherer);
}

}  // namespace trireme
