// Parameters and gradients that have memory only while they are used (ZeRO-3), through steps like a model's,
// on the CPU or, where TRIREME_TEST_DEVICE=cuda, on a CUDA device.  The other rank is acted by a stream of
// its own.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/paged_buffer.h"
#include "kernels/stream.h"
#include "parallel/bucket_reduction.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "parallel/parameter_gatherer.h"
#include "parallel/self_communicator.h"

namespace trireme {
namespace {

constexpr std::int64_t kFloatBytes = 4;

Device device_of_tests() {
  const char* const name = std::getenv("TRIREME_TEST_DEVICE");
  return name != nullptr && std::string_view(name) == "cuda" ? Device{DeviceType::kCuda, 0} : Device{};
}

// Rank 0 of two.  The other one has the operands that `truth` has, and gradients of 1.
class WithAnActor final : public Communicator {
 public:
  WithAnActor(const ParameterBuffer& parameters, Tensor truth, Tensor ones, Device device)
      : parameters_(parameters),
        truth_(truth),
        ones_(ones),
        stream_(device),
        read_memory_(truth.num_elements() * kFloatBytes, device) {}

  int rank() const override { return 0; }
  int size() const override { return 2; }
  const std::string& name() const override { return name_; }

  Ticket all_gather(Tensor out, Tensor x, Stream stream) override {
    begin(stream);
    const std::int64_t part = x.num_elements();
    const Tensor all = parameters_.padded_operands();
    const std::int64_t at =
        (static_cast<const char*>(out.raw_data()) - static_cast<const char*>(all.raw_data())) /
        size_bytes(all.dtype());
    copy(read(part, x.dtype()), x, stream_);
    copy(out.slice(0, part, 2 * part), truth_.slice(0, at + part, at + 2 * part), stream_);
    return end();
  }
  Ticket reduce_scatter(Tensor out, Tensor x, ReduceOp, Stream stream) override {
    begin(stream);
    copy(read(x.num_elements(), x.dtype()), x, stream_);
    accumulate(out, ones_.slice(0, 0, out.num_elements()), stream_);
    return end();
  }
  void wait(Ticket ticket, Stream stream) override { events_[ticket - 1].make_wait(stream); }

  Ticket all_reduce(Tensor, ReduceOp, Stream) override { return unexpected(); }
  Ticket all_reduce(std::span<const Tensor>, ReduceOp, Stream) override { return unexpected(); }
  Ticket all_to_all(Tensor, Tensor, Stream) override { return unexpected(); }
  Ticket broadcast(Tensor, int, Stream) override { return unexpected(); }
  Ticket send(Tensor, int, Stream) override { return unexpected(); }
  Ticket receive(Tensor, int, Stream) override { return unexpected(); }
  void barrier() override { unexpected(); }
  std::unique_ptr<Communicator> split(int, int, std::string) override { return nullptr; }
  Traffic traffic() const override { return {}; }

 private:
  static Ticket unexpected() {
    ADD_FAILURE() << "a call that shards don't make";
    return 0;
  }
  void begin(Stream stream) {
    Event& given = given_.emplace_back(stream.device());
    given.record(stream);
    given.make_wait(stream_);
  }
  Ticket end() {
    events_.emplace_back(static_cast<Stream>(stream_).device()).record(stream_);
    return events_.size();
  }
  // Where what is sent goes.
  Tensor read(std::int64_t elements, DType dtype) const { return read_memory_.tensor(dtype, {elements}); }

  const ParameterBuffer& parameters_;
  const Tensor truth_;
  const Tensor ones_;
  const std::string name_ = "two";
  DeviceStream stream_;
  Buffer read_memory_;
  std::deque<Event> given_;
  std::deque<Event> events_;  // by ticket, from 1
};

// By the type of passes.
class ReleasedMemory : public ::testing::TestWithParam<DType> {
 protected:
  static constexpr int kLayers = 12;
  static constexpr int kMicrobatches = 2;

  // What the device's work will have seen of operands, in the host's memory.
  struct Seen {
    const Parameter* parameter;
    Buffer copy;
  };

  ReleasedMemory() {
    for (int i = 0; i < kLayers; ++i) {
      const std::string name = "layer" + std::to_string(i);
      // Layers begin and end within pages, and within buckets.
      parameters_.add(name + ".weight", {page_elements_ * 3 / 2, 1}, Initializer::constant(0.0F), true);
      parameters_.add(name + ".bias", {100 + i}, Initializer::constant(0.0F), false);
      layers_.push_back(parameters_.range_of(name + "."));
    }
    parameters_.allocate(ParameterMemory::kValuesAndGradients, device_, dtype_);
    layout_.emplace(parameters_.num_elements(), 2, page_elements_ * 2, page_elements_);
    parameters_.shard(*layout_);
    const std::int64_t size = layout_->padded_elements();
    std::vector<float> numbers(static_cast<std::size_t>(size));
    std::iota(numbers.begin(), numbers.end(), 1.0F);
    truth_ = Buffer(size * size_bytes(dtype_), device_);
    ones_ = Buffer(size * kFloatBytes, device_);
    const Tensor truth = truth_.tensor(dtype_, {size});
    const Tensor ones = ones_.tensor(DType::kFloat32, {size});
    fill(ones, 1.0F, stream_);
    copy(parameters_.padded_values(), Tensor(numbers.data(), DType::kFloat32, {size}), stream_);
    parameters_.round_values({0, size}, stream_);
    copy(truth, parameters_.padded_operands(), stream_);
    communicator_.emplace(parameters_, truth, ones, device_);
    gatherer_.emplace(parameters_, *communicator_, *layout_);
    parameters_.gather_by(&*gatherer_);
    reducer_.emplace(
        parameters_, *communicator_,
        scatter_buckets_and_release(parameters_, *communicator_, *layout_, DType::kFloat32, *gatherer_));
    gatherer_->keep_own(stream_);
    for (int bucket = 0; bucket < layout_->num_buckets(); ++bucket) {
      for (const FlatRange& others : layout_->parts_of_others(bucket, 0))
        parameters_.release_values(others, stream_);
    }
  }
  ~ReleasedMemory() override { Stream(stream_).synchronize(); }

  void see(const Parameter& parameter) {
    const std::int64_t size = parameter.shape.num_elements();
    seen_.push_back({&parameter, Buffer::pinned_for(device_, size * size_bytes(dtype_))});
    copy(seen_.back().copy.tensor(dtype_, {size}), parameter.operand.view({size}), stream_);
  }

  // A layer's gradients of every microbatch are its ones.
  void step() {
    gatherer_->rest();
    reducer_->clear(stream_);
    for (int microbatch = 0; microbatch < kMicrobatches; ++microbatch) {
      reducer_->begin(microbatch + 1 == kMicrobatches);
      for (int layer = 0; layer < kLayers; ++layer) use(layer, /*is_backward=*/false);
      for (int layer = kLayers; layer-- > 0;) use(layer, /*is_backward=*/true);
    }
    reducer_->finish(stream_);
    gatherer_->rest();
  }
  void use(int layer, bool is_backward) {
    const FlatRange range = layers_[static_cast<std::size_t>(layer)];
    const ParametersInUse in_use(parameters_, range, stream_);
    if (is_backward) reducer_->expect(range, stream_);
    for (const Parameter& parameter : parameters_.parameters()) {
      if (parameter.offset < range.begin || parameter.offset >= range.end) continue;
      see(parameter);
      if (!is_backward) continue;
      const std::int64_t size = parameter.shape.num_elements();
      accumulate(parameter.gradient.view({size}), ones_.tensor(DType::kFloat32, {size}), stream_);
      reducer_->mark_ready(parameter, stream_);
    }
    most_resident_ = std::max(most_resident_, parameters_.resident_bytes());
  }

  const Device device_ = device_of_tests();
  const DType dtype_ = GetParam();
  const std::int64_t page_elements_ = ShardedLayout::page_elements(device_, dtype_);
  DeviceStream stream_{device_};
  ParameterBuffer parameters_;
  std::vector<FlatRange> layers_;
  std::optional<ShardedLayout> layout_;
  Buffer truth_;
  Buffer ones_;
  std::optional<WithAnActor> communicator_;
  std::optional<ParameterGatherer> gatherer_;
  std::optional<GradientReducer> reducer_;
  std::vector<Seen> seen_;
  std::int64_t most_resident_ = 0;
};

TEST_P(ReleasedMemory, OperandsAndSumsAreThoseOfWholeOnes) {
  for (int i = 0; i < 2; ++i) {
    step();
    Stream(stream_).synchronize();
    ASSERT_EQ(seen_.size(), 2 * 2 * kLayers * kMicrobatches);
    for (const auto& [parameter, copy] : seen_) {
      for (std::int64_t n = 0; n < parameter->shape.num_elements(); ++n) {
        const auto number = static_cast<float>(parameter->offset + n + 1);
        if (dtype_ == DType::kFloat32) {
          ASSERT_EQ(static_cast<const float*>(copy.data())[n], number) << parameter->name;
        } else {
          ASSERT_EQ(static_cast<const Bfloat16*>(copy.data())[n].bits, Bfloat16(number).bits)
              << parameter->name;
        }
      }
    }
    seen_.clear();
    for (const FlatRange& part : reducer_->owned()) {
      std::vector<float> sums(static_cast<std::size_t>(part.size()));
      copy(Tensor(sums.data(), DType::kFloat32, {part.size()}),
           reducer_->sums().slice(0, part.begin, part.end), stream_);
      Stream(stream_).synchronize();
      for (const Parameter& parameter : parameters_.parameters()) {
        const FlatRange elements = common_part(parameter.elements(), part);
        for (std::int64_t n = elements.begin; n < elements.end; ++n)
          ASSERT_EQ(sums[static_cast<std::size_t>(n - part.begin)], 2.0F * kMicrobatches) << parameter.name;
      }
    }
  }
}

// Between steps a rank has its halves.  In a step come on top the operands of two layers with their borders,
// and the gradients of the buckets that two layers touch; whatever is given back serves again.
TEST_P(ReleasedMemory, ThereIsNoMoreThanIsUsed) {
  const std::int64_t of_sums = layout_->elements_per_rank() * kFloatBytes;
  const std::int64_t of_copies =
      dtype_ == DType::kFloat32 ? 0 : layout_->elements_per_rank() * size_bytes(dtype_);
  const std::int64_t own = of_sums + of_copies;
  EXPECT_EQ(parameters_.resident_bytes(), own);
  EXPECT_EQ(reducer_->resident_bytes(), device_.is_cpu() ? 0 : of_sums);
  step();
  EXPECT_EQ(parameters_.resident_bytes(), own);
  EXPECT_EQ(reducer_->resident_bytes(), of_sums);
  const std::int64_t bucket = layout_->bucket(0).size() * kFloatBytes;
  EXPECT_LE(most_resident_, own + 5 * bucket);
  Stream(stream_).synchronize();
  step();
  Stream(stream_).synchronize();
  PagedBuffer::trim(device_);
  // A bucket that is completed and summed comes and goes between two looks.
  EXPECT_LE(PagedBuffer::pooled_bytes(device_), most_resident_ - own + bucket);
  EXPECT_LE(most_resident_ - own, parameters_.num_elements() * kFloatBytes * 2 / 3);
}

INSTANTIATE_TEST_SUITE_P(OfPasses, ReleasedMemory, testing::Values(DType::kFloat32, DType::kBfloat16),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace trireme
