// kernels/cuda/attention/mask.cuh, as threads of a device see it.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {

// Queries and keys are cut into blocks from the first on.  All lie on the device.
struct MaskFindings {
  std::int32_t* keys;                  // [blocks of queries, 2]: keys_of
  std::int32_t* keys_of_documents;     // the same, of those
  std::int32_t* queries;               // [blocks of keys, 2]: queries_of
  std::int32_t* queries_of_documents;  // the same, of those
  std::int32_t* sights;                // [blocks of queries, blocks of keys]: 0 none, 1 some, 2 all
  std::int32_t* sees;                  // [T, S]: 1 or 0
};

// Of the first head of the last sequence.
void find_masks(const MaskFindings& to, const AttentionParameters<float>& p, int queries_per_block,
                int keys_per_block, const StreamState& stream);

}  // namespace trireme::cuda
