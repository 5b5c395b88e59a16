// What the ops of attention check alike.  Internal to kernels/.
#pragma once

#include "kernels/attention.h"
#include "kernels/check.h"

namespace trireme {

// Queries, keys and all options.  Gives the type of the numbers.
DType check_scores(const OperandCheck& check, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                   Device device);

}  // namespace trireme
