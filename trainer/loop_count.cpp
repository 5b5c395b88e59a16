#include "trainer/loop_count.h"

#include <array>

namespace trireme {

std::optional<double> mean_loops(const LoopCount& count, Communicator& data_axis) {
  std::array<float, 2> sums = {static_cast<float>(count.loops), static_cast<float>(count.positions)};
  const Stream stream;
  data_axis.wait(data_axis.all_reduce({sums.data(), DType::kFloat32, {2}}, ReduceOp::kSum, stream), stream);
  if (sums[1] == 0.0F) return std::nullopt;
  return static_cast<double>(sums[0]) / static_cast<double>(sums[1]);
}

}  // namespace trireme
