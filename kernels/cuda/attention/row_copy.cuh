// Rows of bf16 operands, from global memory into tiles of shared memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/attention/tensor_core.cuh"
#include "kernels/dtype.h"

namespace trireme::cuda {

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

// A block's copies of one head's keys or values, a tile at a time.  A thread has the same columns of every
// row. Between copies registers are dear, so little is kept there.
template <typename Tile>
class KeyCopy {
 public:
  // REQUIRES: x is one of p's.
  __device__ KeyCopy(const AttentionParameters<Bfloat16>& p, const HeadRows<const Bfloat16>& x, int sequence,
                     int head)
      : p_(p), x_(x), sequence_(sequence), head_(head) {}

  // Copies the keys from first_key on.  What is aligned belongs to the thread's next group of copies; the
  // rest is copied at once.
  __device__ void copy(unsigned tile, int first_key) const {
    const int thread = fresh(static_cast<int>(threadIdx.x));
    const int row = thread / Keys::kGroup, chunk = thread % Keys::kGroup;
    const std::int64_t stride = fresh(x_.row_stride);
    const Bfloat16* from = x_.head(fresh(sequence_), fresh(head_)) + (first_key + row) * stride + chunk * 8;
    const unsigned first_to = Keys::offset(row, chunk);
    const int num_rows = p_.num_keys - first_key - row;
    const auto for_each_chunk = [&](int pass, auto copy_chunk) {
      // Of rows that are no multiple of 8 apart the chunks are exchanged by other numbers.
      const unsigned to = tile + (first_to ^ static_cast<unsigned>(pass * kRowsAtOnce % 8 * 16)) +
                          static_cast<unsigned>(pass * kRowsAtOnce * Keys::kRowBytes);
      const int count = pass * kRowsAtOnce < num_rows ? p_.width - chunk * 8 : 0;
#pragma unroll
      for (int j = 0; j < Keys::kChunks / Keys::kGroup; ++j) {
        const int columns = j * Keys::kGroup * 8;
        copy_chunk(to + columns * 2, from + columns, count - columns);
      }
      from += stride * kRowsAtOnce;
    };
    if (p_.is_aligned) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        for_each_chunk(pass, [](unsigned to, const Bfloat16* numbers, int count) {
          copy_async(to, numbers, count > 0);
        });
      }
    } else {
#pragma unroll 1
      for (int pass = 0; pass < kPasses; ++pass) for_each_chunk(pass, copy_numbers);
    }
  }

 private:
  using Keys = typename Tile::Keys;
  static constexpr int kRowsAtOnce = Tile::kThreads / Keys::kGroup;
  static constexpr int kPasses = Tile::kKeys / kRowsAtOnce;
  static_assert(Tile::kKeys % kRowsAtOnce == 0 && kRowsAtOnce % 4 == 0);

  const AttentionParameters<Bfloat16>& p_;
  const HeadRows<const Bfloat16>& x_;
  int sequence_, head_;
};

}  // namespace trireme::cuda
