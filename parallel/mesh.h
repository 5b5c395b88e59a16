// How the ranks of a job are laid out along the axes of parallelism.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "parallel/communicator.h"

namespace trireme {

// Outermost first.  Ranks are numbered along the last axis first, so a tensor group, which talks most, has
// neighbouring ranks, on one node if the launcher fills nodes in order; a pipeline, which talks least, spans
// them.
enum class Axis : std::uint8_t { kPipeline, kData, kTensor };
inline constexpr std::array kAxes{Axis::kPipeline, Axis::kData, Axis::kTensor};
const char* name(Axis axis);  // "pp", "dp", "tp"

// The size of each axis; one of them may be 0, for "all ranks that remain".
struct MeshShape {
  int pipeline = 1;  // stages, each with some of the layers
  int data = 0;      // replicas, each with its own part of the global batch
  int tensor = 1;    // ranks that share each layer

  int operator[](Axis axis) const;
  int& operator[](Axis axis);
};

// The arithmetic of a mesh, without its communication.
class MeshLayout {
 public:
  using Place = std::array<int, kAxes.size()>;  // a coordinate per axis

  // Says why `shape` cannot hold `num_ranks` ranks and what would fit; nothing when it can.
  static std::optional<std::string> why_not(const MeshShape& shape, int num_ranks);

  // REQUIRES: !why_not(shape, num_ranks).
  MeshLayout(const MeshShape& shape, int num_ranks);

  const MeshShape& shape() const { return shape_; }  // without zeros
  int size(Axis axis) const { return shape_[axis]; }
  int rank_of(const Place& place) const;
  Place place_of(int rank) const;
  // The same number for ranks that differ in these axes alone, which make a group; another for others.
  int color_of(int rank, std::span<const Axis> axes) const;

 private:
  MeshShape shape_;
};

// Maps this rank to its place, and hands out a communicator for each axis and for what training asks of
// several.  Their names ("dp") tell whose traffic is whose.
class Mesh {
 public:
  static std::optional<std::string> why_not(const MeshShape& shape, int num_ranks) {
    return MeshLayout::why_not(shape, num_ranks);
  }

  // Collective.  REQUIRES: !why_not(shape, world.size()).  `world` outlives the mesh.
  Mesh(const MeshShape& shape, Communicator& world);

  const MeshLayout& layout() const { return layout_; }
  int size(Axis axis) const { return layout_.size(axis); }
  int coordinate(Axis axis) const { return place_[static_cast<std::size_t>(axis)]; }

  Communicator& axis(Axis axis) const { return *axes_[static_cast<std::size_t>(axis)]; }
  Communicator& pipeline() const { return axis(Axis::kPipeline); }
  // A second one among the same stages: gradients pass activations, and need a way of their own.
  Communicator& pipeline_back() const { return *pipeline_back_; }
  Communicator& data() const { return axis(Axis::kData); }
  Communicator& tensor() const { return axis(Axis::kTensor); }
  // What went over an axis.
  Traffic traffic(Axis axis) const;
  // Counts what a device sends of itself: again what it was told once.
  void repeat(Axis axis, const Traffic& traffic) { repeated_[static_cast<std::size_t>(axis)] += traffic; }
  // One whole model, pp x tp: what is summed over it, such as the norm of gradients that each rank has a part
  // of, is the model's.
  Communicator& model() const { return *model_; }

 private:
  MeshLayout layout_;
  MeshLayout::Place place_;
  std::array<std::unique_ptr<Communicator>, kAxes.size()> axes_;
  std::unique_ptr<Communicator> pipeline_back_;
  std::unique_ptr<Communicator> model_;
  std::array<Traffic, kAxes.size()> repeated_;
};

}  // namespace trireme
