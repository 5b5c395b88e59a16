// Where the parameters of a whole model lie in checkpoints, whichever rank has which.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

struct WholeLayout {
  std::vector<CheckpointEntry> entries;
  std::int64_t num_elements = 0;  // with gaps
};

// As one rank lays the model out.
WholeLayout whole_layout(const TransformerOptions& options);

}  // namespace trireme
