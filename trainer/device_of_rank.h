// Which device a rank computes on.
#pragma once

#include <string>

#include "kernels/device.h"
#include "parallel/process.h"

namespace trireme {

// `type` is "cpu" or "cuda".  The ranks of a node take its GPUs in order, one each; where every rank sees a
// single one, as Slurm's --gpus-per-task gives them, that is its own.  Throws UserError where there is none
// for it.
Device device_of_rank(const std::string& type, const Process& process);

}  // namespace trireme
