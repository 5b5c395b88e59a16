// How often positions that halt by themselves go round, on held-out data.
#pragma once

#include <optional>

#include "parallel/communicator.h"
#include "trainer/model/halting.h"

namespace trireme {

// Of all ranks, which all call it; none if no position halts by itself.
std::optional<double> mean_loops(const LoopCount& count, Communicator& data_axis);

}  // namespace trireme
