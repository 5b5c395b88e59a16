// Which elements a rank counts, where each element of a model counts once.
#pragma once

#include <vector>

#include "parallel/flat_range.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// Of `ranges` of the flat buffers, ascending, all but the replicas that another rank owns (see Replica).
// Summed over the ranks of one model, and over the data axis where ranges are shards of it, that is each
// element once.
std::vector<FlatRange> counted_ranges(const ParameterBuffer& parameters,
                                      const std::vector<FlatRange>& ranges);

}  // namespace trireme
