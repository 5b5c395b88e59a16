// What the ops of attention check alike.  Internal to kernels/.
#pragma once

#include "kernels/attention.h"
#include "kernels/check.h"

namespace trireme {

// Queries, keys and all options.  Gives the type of the numbers.
DType check_scores(const OperandCheck& check, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                   Device device);

// Heads that have dropout masks; q has H.
inline std::int64_t mask_heads(const AttentionOptions& options, std::int64_t num_heads) {
  return options.mask_heads > 0 ? options.mask_heads : num_heads;
}

}  // namespace trireme
