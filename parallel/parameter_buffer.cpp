#include "parallel/parameter_buffer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/random.h"
#include "kernels/rng.h"

namespace trireme {
namespace {

constexpr std::int64_t kAlignmentElements = 16;

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
                      .gradient = {},
                      .replicas = {}};
  num_parameters_ += shape.num_elements();
  num_elements_ += (shape.num_elements() + kAlignmentElements - 1) / kAlignmentElements * kAlignmentElements;
  return parameters_.emplace_back(std::move(parameter));
}

void ParameterBuffer::add_replica(const Parameter& parameter, const Replica& replica) {
  parameters_[static_cast<std::size_t>(parameter.index)].replicas.push_back(replica);
}

void ParameterBuffer::allocate(ParameterMemory memory, Device device) {
  CHECK(!values_) << "allocate() is called twice";
  const auto allocate_flat = [&](Buffer& buffer, Tensor& flat, Tensor Parameter::*part) {
    buffer = Buffer(num_elements_ * size_bytes(DType::kFloat32), device);
    buffer.zero();
    flat = buffer.tensor(DType::kFloat32, {num_elements_});
    for (Parameter& parameter : parameters_) {
      const std::int64_t end = parameter.offset + parameter.shape.num_elements();
      parameter.*part = flat.slice(0, parameter.offset, end).view(parameter.shape);
    }
  };
  if (memory == ParameterMemory::kNone) return;
  allocate_flat(value_memory_, values_, &Parameter::value);
  if (memory == ParameterMemory::kValues) return;
  allocate_flat(gradient_memory_, gradients_, &Parameter::gradient);
}

std::vector<FlatRange> ParameterBuffer::owned_ranges() const {
  std::vector<FlatRange> of_others;
  for (const Parameter& parameter : parameters_) {
    for (const Replica& replica : parameter.replicas) {
      if (replica.group->rank() > 0)
        of_others.push_back(
            {parameter.offset + replica.elements.begin, parameter.offset + replica.elements.end});
    }
  }
  // A parameter's replicas may overlap, and come in any order.
  std::sort(of_others.begin(), of_others.end(),
            [](const FlatRange& a, const FlatRange& b) { return a.begin < b.begin; });
  std::vector<FlatRange> owned;
  std::int64_t begin = 0;
  const auto own_up_to = [&](std::int64_t end) {
    if (begin < end) owned.push_back({begin, end});
  };
  for (const FlatRange& range : of_others) {
    own_up_to(range.begin);
    begin = std::max(begin, range.end);
  }
  own_up_to(num_elements_);
  return owned;
}

void ParameterBuffer::initialize(std::uint64_t seed) {
  const Stream stream;
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
