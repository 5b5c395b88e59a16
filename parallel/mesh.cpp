#include "parallel/mesh.h"

#include <algorithm>
#include <vector>

#include <glog/logging.h>

namespace trireme {
namespace {

constexpr std::int64_t kTooMany = 1'000'000'000;

// As the config calls them.
const char* word(Axis axis) {
  switch (axis) {
    case Axis::kPipeline:
      return "pipeline";
    case Axis::kData:
      return "data";
    case Axis::kTensor:
      return "tensor";
  }
  return "?";
}

std::string count_of_ranks(std::int64_t count) {
  return std::to_string(count) + (count == 1 ? " rank" : " ranks");
}

// "2 or 4", "2, 4 or 8".
std::string one_of(const std::vector<std::int64_t>& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += i + 1 == values.size() ? " or " : ", ";
    text += std::to_string(values[i]);
  }
  return text;
}

// The ranks of all axes together; an axis of size 0 counts as 1.
std::int64_t product(const MeshShape& shape) {
  std::int64_t ranks = 1;
  for (const Axis axis : kAxes) ranks = std::min(kTooMany, ranks * std::max(1, shape[axis]));
  return ranks;
}

bool has_open_axis(const MeshShape& shape) {
  return std::any_of(kAxes.begin(), kAxes.end(), [&](Axis axis) { return shape[axis] == 0; });
}

bool fits(const MeshShape& shape, int num_ranks) {
  return has_open_axis(shape) ? num_ranks % product(shape) == 0 : product(shape) == num_ranks;
}

// The sizes of one axis, the others unchanged, that fit and are nearest to what was asked for.
std::vector<std::int64_t> sizes_that_fit(MeshShape shape, Axis axis, int num_ranks) {
  std::vector<std::int64_t> below;
  std::vector<std::int64_t> found;
  const int asked = shape[axis];
  for (int size = 1; size <= num_ranks; ++size) {
    if (num_ranks % size != 0) continue;
    shape[axis] = size;
    if (!fits(shape, num_ranks)) continue;
    if (size < asked) {
      below = {size};
    } else {
      found = {size};
      break;
    }
  }
  found.insert(found.begin(), below.begin(), below.end());
  return found;
}

// "data = 3 fits, or start 8 ranks".
std::string what_would_fit(const MeshShape& shape, int num_ranks) {
  std::string text;
  for (const Axis axis : {Axis::kData, Axis::kTensor, Axis::kPipeline}) {
    if (shape[axis] == 0) continue;
    std::vector<std::int64_t> sizes = sizes_that_fit(shape, axis, num_ranks);
    if (sizes.empty()) continue;
    if (axis == Axis::kData) sizes.push_back(0);
    text = std::string(word(axis)) + " = " + one_of(sizes) + " fits, or ";
    break;
  }
  const std::int64_t needed = product(shape);
  const std::int64_t below = num_ranks / needed * needed;
  if (!has_open_axis(shape)) return text + "start " + count_of_ranks(needed);
  return text + "start " + (below > 0 ? std::to_string(below) + " or " : "") + count_of_ranks(below + needed);
}

std::string axes_of(const MeshShape& shape) {
  std::string text;
  for (const Axis axis : kAxes) {
    if (shape[axis] <= 1) continue;
    text += (text.empty() ? "" : " x ") + std::string(word(axis)) + " " + std::to_string(shape[axis]);
  }
  return text.empty() ? "data 1" : text;
}

}  // namespace

const char* name(Axis axis) {
  switch (axis) {
    case Axis::kPipeline:
      return "pp";
    case Axis::kData:
      return "dp";
    case Axis::kTensor:
      return "tp";
  }
  return "?";
}

int MeshShape::operator[](Axis axis) const {
  MeshShape shape = *this;
  return shape[axis];
}

int& MeshShape::operator[](Axis axis) {
  switch (axis) {
    case Axis::kPipeline:
      return pipeline;
    case Axis::kTensor:
      return tensor;
    case Axis::kData:
      break;
  }
  return data;
}

std::optional<std::string> MeshLayout::why_not(const MeshShape& shape, int num_ranks) {
  int num_open = 0;
  for (const Axis axis : kAxes) {
    num_open += shape[axis] == 0;
    if (shape[axis] >= 0) continue;
    return std::string(word(axis)) + " is " + std::to_string(shape[axis]) + "; " +
           (num_ranks == 1 ? "1 fits" : "1 to " + std::to_string(num_ranks) + " may fit") +
           ", and 0 stands for all ranks that remain";
  }
  if (num_open > 1)
    return "several axes are 0, which stands for all ranks that remain; only one can have them";
  if (fits(shape, num_ranks)) return std::nullopt;
  return axes_of(shape) + " needs " + (num_open > 0 ? "a multiple of " : "") +
         count_of_ranks(product(shape)) + " and the job has " + std::to_string(num_ranks) + "; " +
         what_would_fit(shape, num_ranks);
}

MeshLayout::MeshLayout(const MeshShape& shape, int num_ranks) : shape_(shape) {
  const std::optional<std::string> problem = why_not(shape, num_ranks);
  CHECK(!problem) << *problem;
  const auto remaining = static_cast<int>(num_ranks / product(shape));
  for (const Axis axis : kAxes) {
    if (shape_[axis] == 0) shape_[axis] = remaining;
  }
}

int MeshLayout::rank_of(const Place& place) const {
  int rank = 0;
  for (std::size_t i = 0; i < kAxes.size(); ++i) rank = rank * shape_[kAxes[i]] + place[i];
  return rank;
}

MeshLayout::Place MeshLayout::place_of(int rank) const {
  Place place{};
  for (std::size_t i = kAxes.size(); i-- > 0;) {
    place[i] = rank % shape_[kAxes[i]];
    rank /= shape_[kAxes[i]];
  }
  return place;
}

int MeshLayout::color_of(int rank, std::span<const Axis> axes) const {
  Place place = place_of(rank);
  for (const Axis axis : axes) place[static_cast<std::size_t>(axis)] = 0;
  return rank_of(place);
}

Mesh::Mesh(const MeshShape& shape, Communicator& world)
    : layout_(shape, world.size()), place_(layout_.place_of(world.rank())) {
  const auto group = [&](std::span<const Axis> axes, const char* group_name) {
    const int color = layout_.color_of(world.rank(), axes);
    return world.split(color, world.rank(), group_name);
  };
  for (const Axis axis : kAxes) axes_[static_cast<std::size_t>(axis)] = group({&axis, 1}, name(axis));
  pipeline_back_ = pipeline().split(0, pipeline().rank(), "pp back");
  model_ = group(std::array{Axis::kPipeline, Axis::kTensor}, "model");
}

Traffic Mesh::traffic(Axis axis) const {
  Traffic traffic = this->axis(axis).traffic();
  if (axis == Axis::kPipeline) traffic += pipeline_back().traffic();
  traffic += repeated_[static_cast<std::size_t>(axis)];
  return traffic;
}

}  // namespace trireme
