#include "kernels/cuda/attention/mask.cuh"
#include "kernels/cuda/check.h"
#include "tests/kernels/cuda/mask_on_device.h"

namespace trireme::cuda {
namespace {

// A block of threads for each block of queries, a thread for each query.
__global__ void find(MaskFindings to, AttentionParameters<float> p, int queries_per_block,
                     int keys_per_block) {
  const Mask mask(p, p.num_sequences - 1, 0);
  const int block = static_cast<int>(blockIdx.x);
  const int first = block * queries_per_block;
  const Range queries = {first, min(first + queries_per_block, p.num_queries)};
  const int key_blocks = (p.num_keys + keys_per_block - 1) / keys_per_block;
  if (threadIdx.x == 0) {
    const Range keys = mask.keys_of(queries);
    to.keys[2 * block] = keys.begin;
    to.keys[2 * block + 1] = keys.end;
    for (int i = 0; i < key_blocks; ++i) {
      const Range these = {i * keys_per_block, min((i + 1) * keys_per_block, p.num_keys)};
      const Sight sight = mask.sight(queries, these);
      to.sights[block * key_blocks + i] = sight == Sight::kNone ? 0 : sight == Sight::kSome ? 1 : 2;
      if (block > 0) continue;
      const Range seeing = mask.queries_of(these);
      to.queries[2 * i] = seeing.begin;
      to.queries[2 * i + 1] = seeing.end;
    }
  }
  const int query = first + static_cast<int>(threadIdx.x);
  if (query >= queries.end) return;
  for (int key = 0; key < p.num_keys; ++key)
    to.sees[query * p.num_keys + key] = mask.sees(query, mask.document_of_query(query), key) ? 1 : 0;
}

}  // namespace

void find_masks(const MaskFindings& to, const AttentionParameters<float>& p, int queries_per_block,
                int keys_per_block, const StreamState& stream) {
  const int blocks = (p.num_queries + queries_per_block - 1) / queries_per_block;
  find<<<static_cast<unsigned>(blocks), static_cast<unsigned>(queries_per_block), 0, stream.handle()>>>(
      to, p, queries_per_block, keys_per_block);
  TRIREME_CUDA(cudaGetLastError());
}

}  // namespace trireme::cuda
