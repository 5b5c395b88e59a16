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

// Counts what goes over the axes while steps are taken; what validations and checkpoints exchange isn't in
// it.
class TrafficMeter {
 public:
  // `mesh` outlives the meter.
  explicit TrafficMeter(const Mesh& mesh) : mesh_(mesh) {}

  void begin_step();
  void end_step();
  // Of the steps since the last call; of axes with several ranks alone.  Collective over `world`, the ranks
  // of the mesh.
  std::vector<AxisTraffic> take(Communicator& world);

 private:
  const Mesh& mesh_;
  std::int64_t num_steps_ = 0;
  std::array<Traffic, kAxes.size()> before_;
  std::array<Traffic, kAxes.size()> sum_;
};

}  // namespace trireme
