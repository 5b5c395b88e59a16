#include "parallel/parameter_buffer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/memory_label.h"
#include "kernels/random.h"
#include "kernels/rng.h"
#include "parallel/parameter_gatherer.h"

namespace trireme {
namespace {

constexpr std::int64_t kAlignmentElements = 16;
constexpr std::int64_t kElementBytes = size_bytes(DType::kFloat32);

}  // namespace

Parameter& ParameterBuffer::add(std::string name, Shape shape, Initializer initializer, bool weight_decay) {
  return add(std::move(name), ParameterPart::all_of(shape), initializer, weight_decay);
}

Parameter& ParameterBuffer::add(std::string name, ParameterPart part, Initializer initializer,
                                bool weight_decay) {
  CHECK(!values_) << "parameter " << name << " is added after allocate()";
  CHECK(std::none_of(parameters_.begin(), parameters_.end(),
                     [&](const Parameter& other) { return other.name == name; }))
      << "two parameters are named " << name;
  const Shape shape = part.shape();
  Parameter parameter{.name = std::move(name),
                      .part = std::move(part),
                      .shape = shape,
                      .initializer = initializer,
                      .weight_decay = weight_decay,
                      .index = static_cast<int>(parameters_.size()),
                      .offset = num_elements_,
                      .value = {},
                      .operand = {},
                      .gradient = {},
                      .replicas = {}};
  num_parameters_ += shape.num_elements();
  num_elements_ += (shape.num_elements() + kAlignmentElements - 1) / kAlignmentElements * kAlignmentElements;
  return parameters_.emplace_back(std::move(parameter));
}

void ParameterBuffer::add_replica(const Parameter& parameter, const Replica& replica) {
  parameters_[static_cast<std::size_t>(parameter.index)].replicas.push_back(replica);
}

void ParameterBuffer::allocate(ParameterMemory memory, Device device, DType of_passes) {
  CHECK(!values_) << "allocate() is called twice";
  of_passes_ = of_passes;
  map(num_elements_, memory, Pages::kLarge, device);
}

void ParameterBuffer::round_values(const FlatRange& range, Stream stream) {
  if (operands_are_values()) return;
  convert(padded_operands_.slice(0, range.begin, range.end), padded_values_.slice(0, range.begin, range.end),
          stream);
}

void ParameterBuffer::shard(const ShardedLayout& layout) {
  CHECK(gradients_);
  CHECK_EQ(layout.num_elements(), num_elements_);
  const Device device = gradients_.device();
  value_memory_ = {};
  operand_memory_ = {};
  gradient_memory_ = {};
  map(layout.padded_elements(), ParameterMemory::kValuesAndGradients, Pages::kSmall, device);
  value_memory_.acquire(0, value_memory_.size_bytes(), Contents::kZeros);
  if (!operands_are_values()) operand_memory_.acquire(0, operand_memory_.size_bytes(), Contents::kZeros);
}

void ParameterBuffer::map(std::int64_t padded_elements, ParameterMemory memory, Pages pages, Device device) {
  const auto map_flat = [&](PagedBuffer& buffer, DType dtype, Tensor& padded, Tensor Parameter::*part) {
    buffer = PagedBuffer(padded_elements * size_bytes(dtype), pages, device);
    padded = buffer.tensor(dtype, {padded_elements});
    for (Parameter& parameter : parameters_) {
      const std::int64_t end = parameter.offset + parameter.shape.num_elements();
      parameter.*part = padded.slice(0, parameter.offset, end).view(parameter.shape);
    }
    return padded.slice(0, 0, num_elements_);
  };
  if (memory == ParameterMemory::kNone) return;
  const MemoryLabel parameters("parameters");
  values_ = map_flat(value_memory_, DType::kFloat32, padded_values_, &Parameter::value);
  if (operands_are_values()) {
    for (Parameter& parameter : parameters_) parameter.operand = parameter.value;
  } else {
    map_flat(operand_memory_, of_passes_, padded_operands_, &Parameter::operand);
  }
  if (memory == ParameterMemory::kValues) return;
  const MemoryLabel gradients("gradients");
  gradients_ = map_flat(gradient_memory_, DType::kFloat32, padded_gradients_, &Parameter::gradient);
}

void ParameterBuffer::acquire_values(const FlatRange& range, Stream stream) {
  value_memory_.acquire(range.begin * kElementBytes, range.end * kElementBytes, Contents::kUndefined, stream);
}

void ParameterBuffer::acquire_operands(const FlatRange& range, Stream stream) {
  if (operands_are_values()) return acquire_values(range, stream);
  const std::int64_t element_bytes = size_bytes(of_passes_);
  operand_memory_.acquire(range.begin * element_bytes, range.end * element_bytes, Contents::kUndefined,
                          stream);
}

void ParameterBuffer::acquire_gradients(const FlatRange& range, Stream stream) {
  gradient_memory_.acquire(range.begin * kElementBytes, range.end * kElementBytes, Contents::kZeros, stream);
}

void ParameterBuffer::release_values(const FlatRange& range, Stream stream) {
  value_memory_.release(range.begin * kElementBytes, range.end * kElementBytes, stream);
}

void ParameterBuffer::release_operands(const FlatRange& range, Stream stream) {
  if (operands_are_values()) return release_values(range, stream);
  const std::int64_t element_bytes = size_bytes(of_passes_);
  operand_memory_.release(range.begin * element_bytes, range.end * element_bytes, stream);
}

void ParameterBuffer::release_gradients(const FlatRange& range, Stream stream) {
  gradient_memory_.release(range.begin * kElementBytes, range.end * kElementBytes, stream);
}

std::int64_t ParameterBuffer::resident_bytes() const {
  return value_memory_.resident_bytes() + operand_memory_.resident_bytes() +
         gradient_memory_.resident_bytes();
}

FlatRange ParameterBuffer::range_of(std::string_view name_prefix) const {
  FlatRange range;
  for (const Parameter& parameter : parameters_) {
    if (!parameter.name.starts_with(name_prefix)) continue;
    if (range.size() == 0) range.begin = parameter.offset;
    range.end = parameter.offset + parameter.shape.num_elements();
  }
  return range;
}

ParametersInUse::ParametersInUse(const ParameterBuffer& parameters, const FlatRange& range, Stream stream)
    : gatherer_(parameters.gatherer_), range_(range) {
  if (gatherer_ != nullptr) gatherer_->use(range_, stream);
}

ParametersInUse::ParametersInUse(const ParameterBuffer& parameters, const Parameter& parameter, Stream stream)
    : ParametersInUse(parameters, parameter.elements(), stream) {}

ParametersInUse::~ParametersInUse() {
  if (gatherer_ != nullptr) gatherer_->release(range_);
}

void ParameterBuffer::initialize(std::uint64_t seed, Stream stream) {
  for (const Parameter& parameter : parameters_) {
    const auto [mean, stddev] = parameter.initializer;
    if (stddev == 0.0F) {
      fill(parameter.value, mean, stream);
      continue;
    }
    const Tensor flat = parameter.value.view({parameter.shape.num_elements()});
    const std::uint64_t key = key_of(seed, parameter.name);
    for_each_piece(parameter.part, [&](const Piece& piece) {
      fill_normal(flat.slice(0, piece.own, piece.own + piece.size), stddev, key, piece.whole, stream);
    });
  }
}

}  // namespace trireme
