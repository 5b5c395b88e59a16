#include "trainer/axis_traffic.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "trainer/checkpoint/agreement.h"

namespace trireme {

void TrafficMeter::resume() {
  for (std::size_t i = 0; i < kAxes.size(); ++i) since_[i] = mesh_.traffic(kAxes[i]);
}

void TrafficMeter::pause() {
  for (std::size_t i = 0; i < kAxes.size(); ++i) {
    const Traffic more = mesh_.traffic(kAxes[i]) - since_[i];
    sum_[i].bytes_received += more.bytes_received;
    sum_[i].seconds_busy += more.seconds_busy;
    sum_[i].seconds_waited += more.seconds_waited;
  }
}

std::vector<AxisTraffic> TrafficMeter::take(Communicator& world) {
  pause();
  const auto num_rank_steps = static_cast<double>(std::max<std::int64_t>(1, num_steps_) * world.size());
  std::vector<AxisTraffic> axes;
  for (std::size_t i = 0; i < kAxes.size(); ++i) {
    if (mesh_.size(kAxes[i]) == 1) continue;
    const auto all = gather_numbers({static_cast<std::uint64_t>(sum_[i].bytes_received),
                                     std::bit_cast<std::uint64_t>(sum_[i].seconds_busy),
                                     std::bit_cast<std::uint64_t>(sum_[i].seconds_waited)},
                                    world);
    std::uint64_t bytes = 0;
    double busy = 0.0, waited = 0.0;
    for (std::size_t rank = 0; rank < all.size(); rank += 3) {
      bytes += all[rank];
      busy += std::bit_cast<double>(all[rank + 1]);
      waited += std::bit_cast<double>(all[rank + 2]);
    }
    axes.push_back({.axis = name(kAxes[i]),
                    .bytes_per_step = static_cast<double>(bytes) / num_rank_steps,
                    .busy_s = busy / num_rank_steps,
                    // Waking up after the operation is waited for, too.
                    .hidden = busy > 0.0 ? std::max(0.0, 1.0 - waited / busy) : std::nan("")});
  }
  num_steps_ = 0;
  sum_ = {};
  resume();
  return axes;
}

}  // namespace trireme
