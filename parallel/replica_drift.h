// Whether ranks that should have the same values have them to the bit.
#pragma once

#include <string>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// The names of this rank's parameters that are not what rank 0 has of the group with which they are shared:
// `data`, whose ranks have all of them alike, or that of a replica.  `values` is laid out as in `parameters`.
// Collective over all these groups.
std::vector<std::string> find_drift(const ParameterBuffer& parameters, Tensor values, Communicator& data);

}  // namespace trireme
