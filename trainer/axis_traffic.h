// What training sends over the axes of the mesh.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/mesh.h"

namespace trireme {

// Of an axis that has several ranks; a mean over the ranks of the mesh.
struct AxisTraffic {
  std::string axis;           // "dp"
  double bytes_per_step = 0;  // that a rank receives
  double busy_s = 0;          // of a step: something was under way, late peers included
  double hidden = 0;          // share of that time in which the rank computed on; NaN if there was none

  bool operator==(const AxisTraffic&) const = default;
};

// Counts what goes over the axes of a mesh while it isn't paused, as it is at first.  What is under way when
// a step ends counts when it arrives, so pause for what is no step (validations, checkpoints), not between
// steps.
class TrafficMeter {
 public:
  // `mesh` outlives the meter.
  explicit TrafficMeter(const Mesh& mesh) : mesh_(mesh) {}

  void resume();
  void pause();
  void count_step() { ++num_steps_; }
  // Of the steps since the last call; of axes with several ranks alone.  Collective over `world`, the ranks
  // of the mesh.  REQUIRES: not paused.
  std::vector<AxisTraffic> take(Communicator& world);

 private:
  const Mesh& mesh_;
  std::int64_t num_steps_ = 0;
  std::array<Traffic, kAxes.size()> since_;
  std::array<Traffic, kAxes.size()> sum_;
};

}  // namespace trireme
