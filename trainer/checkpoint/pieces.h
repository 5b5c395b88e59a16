// Which elements of the whole model's flat vectors lie in a rank's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/parameter_buffer.h"
#include "parallel/sharded_layout.h"
#include "trainer/checkpoint/checkpoint.h"

namespace trireme {

// Of a rank that has all of the model, in memory laid out like the checkpoint.  It owns all of it.
CheckpointPieces pieces_of(const std::vector<CheckpointEntry>& layout);

// Of a rank's parameters, flat as `own` has them; `whole` is the layout of the whole model.  What a rank
// before this one in a group of replicas has, too, is a copy.  REQUIRES: all names of `own` are in `whole`.
CheckpointPieces pieces_of(const ParameterBuffer& own, const std::vector<CheckpointEntry>& whole);

// The same with data parallelism, when all ranks of the data axis hold the same `own_elements`: each owns a
// share, so that all of them save.
CheckpointPieces replicated_over(Communicator& data, CheckpointPieces pieces, std::int64_t own_elements);

// The same when each rank of the data axis has its parts of the layout alone, in place in the flat memory.
CheckpointPieces sharded_over(Communicator& data, const CheckpointPieces& pieces,
                              const ShardedLayout& layout);

}  // namespace trireme
