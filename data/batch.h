// What a rank trains on at once.
#pragma once

#include <cstdint>
#include <vector>

namespace trireme {

// Rows of tokens and, for each token, the one that follows it: [sequences, tokens_per_sequence], row after
// row.
struct Batch {
  std::int64_t first_sample = 0;  // number of row 0 among all samples of the run; the others follow
  std::int64_t sequences = 0;
  std::int64_t tokens_per_sequence = 0;
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> targets;
};

}  // namespace trireme
