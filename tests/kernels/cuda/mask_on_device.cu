#include "kernels/cuda/attention/mask.cuh"
#include "kernels/cuda/check.h"
#include "tests/kernels/cuda/mask_on_device.h"

namespace trireme::cuda {
namespace {

__device__ void store(std::int32_t* to, int i, Range range) {
  to[2 * i] = range.begin;
  to[2 * i + 1] = range.end;
}

// A block of threads, whole warps, for each block of queries; a thread for each query.
__global__ void find(MaskFindings to, AttentionParameters<float> p, int queries_per_block,
                     int keys_per_block) {
  const Mask mask(p, p.num_sequences - 1, 0);
  const int block = static_cast<int>(blockIdx.x);
  const int first = block * queries_per_block;
  const Range queries = {first, min(first + queries_per_block, p.num_queries)};
  const int key_blocks = (p.num_keys + keys_per_block - 1) / keys_per_block;
  if (threadIdx.x < 32) {
    // Together.
    const Range keys = mask.keys_of(queries), with_documents = mask.keys_of_documents(queries, keys);
    if (threadIdx.x == 0) {
      store(to.keys, block, keys);
      store(to.keys_of_documents, block, with_documents);
    }
    for (int i = 0; i < key_blocks; ++i) {
      const Range these = {i * keys_per_block, min((i + 1) * keys_per_block, p.num_keys)};
      const Sight sight = mask.sight(queries, these);
      const Range seeing = mask.queries_of(these), of_documents = mask.queries_of_documents(these, seeing);
      if (threadIdx.x != 0) continue;
      to.sights[block * key_blocks + i] = sight == Sight::kNone ? 0 : sight == Sight::kSome ? 1 : 2;
      if (block > 0) continue;
      store(to.queries, i, seeing);
      store(to.queries_of_documents, i, of_documents);
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
  const int threads = (queries_per_block + 31) / 32 * 32;
  find<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0, stream.handle()>>>(
      to, p, queries_per_block, keys_per_block);
  TRIREME_CUDA(cudaGetLastError());
}

}  // namespace trireme::cuda
