// bf16 tiles in shared memory, and the warp-wide instructions (sm_80) that load and multiply them.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/attention/async_copy.cuh"
#include "kernels/cuda/attention/base2.cuh"

namespace trireme::cuda {

// A tile of kNumRows rows of kColumns bf16 in shared memory.  The 16-byte chunks of a row are exchanged by
// the low bits of its number, so that neither rows written by cp.async nor the 8 x 8 matrices that ldmatrix
// reads meet in a bank.
template <int kNumRows, int kColumns>
struct SharedTile {
  static constexpr int kRows = kNumRows;
  static constexpr int kChunks = kColumns / 8;  // of 16 bytes, of a row
  static constexpr int kBytes = kRows * kColumns * 2;

  static constexpr int kRowBytes = kColumns * 2;
  // Chunks are exchanged within groups of so many.
  static constexpr int kGroup = kChunks % 8 == 0 ? 8 : 4;
  static_assert(kChunks % kGroup == 0);

  // Where a chunk lies, from the tile's first byte.
  __device__ static unsigned offset(int row, int chunk) {
    if constexpr (kChunks % 8 == 0) {
      return static_cast<unsigned>((row * kChunks + (chunk ^ (row & 7))) * 16);
    } else {
      // Rows begin at the first and the fifth of eight chunks in turn (32 and 96 columns).
      return static_cast<unsigned>((row * kChunks + (chunk ^ (row >> 1 & 3))) * 16);
    }
  }

  // The address of chunk c + 2 k of a row, from that of its chunk c, 0 or 1.  REQUIRES: the tile begins at a
  // multiple of 128.
  __device__ static unsigned columns_on(unsigned address, int k) {
    constexpr int kPairs = kGroup / 2;
    return (address ^ static_cast<unsigned>(k % kPairs * 32)) +
           static_cast<unsigned>(k / kPairs * kGroup * 16);
  }
};

__device__ inline void store_shared(unsigned to, uint4 x) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};\n" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}

// Four 8 x 8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// d[16, 8] += a[16, 16] b[16, 8].  Lane i holds of d rows i / 4 (d[0], d[1]) and i / 4 + 8 (d[2], d[3]),
// columns i % 4 * 2 and the next.
__device__ inline void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// x, of which the compiler knows nothing: what is computed from it in a loop is computed there, and does not
// take registers all the time.
template <typename T>
__device__ inline T fresh(T x) {
  if constexpr (sizeof(T) == 8) {
    asm volatile("" : "+l"(x));
  } else {
    asm volatile("" : "+r"(x));
  }
  return x;
}

// Two floats as bf16, the first in the lower half.
__device__ inline unsigned pack(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const unsigned&>(both);
}

}  // namespace trireme::cuda
