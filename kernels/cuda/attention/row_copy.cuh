// Rows of bf16 operands, from global memory into tiles of shared memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/attention/tensor_core.cuh"
#include "kernels/dtype.h"

namespace trireme::cuda {

// Calls body(offset, row, chunk) for the chunks of a tile that are one of kThreads threads', where they lie
// from the tile's first byte.  A thread has the same columns of every row, so that offsets are sums of
// constants.
template <typename Tile, int kThreads, bool kUnrolled, typename Body>
__device__ void for_each_chunk(int thread, Body body) {
  constexpr int kRowsAtOnce = kThreads / Tile::kGroup;
  constexpr int kPasses = Tile::kRows / kRowsAtOnce;
  static_assert(Tile::kRows % kRowsAtOnce == 0 && kRowsAtOnce % 4 == 0);
  const int first_row = thread / Tile::kGroup, first_chunk = thread % Tile::kGroup;
  const unsigned first_offset = Tile::offset(first_row, first_chunk);
#pragma unroll(kUnrolled ? kPasses : 1)
  for (int pass = 0; pass < kPasses; ++pass) {
    // Of rows that are no multiple of 8 apart the chunks are exchanged by other numbers.
    const unsigned offset = (first_offset ^ static_cast<unsigned>(pass * kRowsAtOnce % 8 * 16)) +
                            static_cast<unsigned>(pass * kRowsAtOnce * Tile::kRowBytes);
#pragma unroll
    for (int j = 0; j < Tile::kChunks / Tile::kGroup; ++j) {
      body(offset + static_cast<unsigned>(j * Tile::kGroup * 16), first_row + pass * kRowsAtOnce,
           first_chunk + j * Tile::kGroup);
    }
  }
}

// Copies one chunk of 8 numbers, of which the first `count` (none if <= 0) are there, and zeros stand for the
// others.  Rows need not be aligned.
__device__ inline void copy_numbers(unsigned to, const Bfloat16* from, int count) {
  unsigned words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const unsigned low = 2 * i < count ? from[2 * i].bits : 0u;
    const unsigned high = 2 * i + 1 < count ? from[2 * i + 1].bits : 0u;
    words[i] = high << 16 | low;
  }
  store_shared(to, make_uint4(words[0], words[1], words[2], words[3]));
}

// Fills a tile with the rows row_at(i), of which the first `num_rows` are there, and zeros.  What is aligned
// belongs to the thread's next group of copies; the rest is copied at once.
template <typename Tile, int kThreads, typename Row>
__device__ void copy_rows(unsigned tile, int num_rows, int width, bool is_aligned, Row row_at) {
  // A register less between copies.
  const int thread = fresh(static_cast<int>(threadIdx.x));
  if (is_aligned) {
    for_each_chunk<Tile, kThreads, true>(thread, [&](unsigned offset, int row, int chunk) {
      copy_async(tile + offset, row_at(row) + chunk * 8, row < num_rows && chunk * 8 < width);
    });
  } else {
    for_each_chunk<Tile, kThreads, false>(thread, [&](unsigned offset, int row, int chunk) {
      copy_numbers(tile + offset, row_at(row) + chunk * 8, row < num_rows ? width - chunk * 8 : 0);
    });
  }
}

}  // namespace trireme::cuda
