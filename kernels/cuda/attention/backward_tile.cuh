// How the bf16 backward kernels share out a block of queries and a block of keys among warps, and how a warp
// multiplies its parts.
#pragma once

#include "kernels/cuda/attention/tensor_core.cuh"

namespace trireme::cuda {

// Where a thread is, read again each time.  What is computed from it can't be kept through the kernels' loops
// then, where it would take registers that the sums need.
__device__ inline int this_lane() {
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}
__device__ inline int this_warp() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread / 32;
}
__device__ inline int block_x() {
  int x;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(x));
  return x;
}
__device__ inline int block_y() {
  int y;
  asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(y));
  return y;
}
__device__ inline int block_z() {
  int z;
  asm volatile("mov.u32 %0, %%ctaid.z;" : "=r"(z));
  return z;
}

// A warp recomputes scores of 32 keys and 32 queries at a time: kQueryWarps warps side by side take their
// share of the queries.  Of dq's block, kColumnWarps warps side by side take their share of the columns.
template <int kWidthOfHead, int kNumQueries, int kNumKeys, int kNumQueryWarps, int kNumColumnWarps>
struct BackwardTile {
  static constexpr int kWidth = kWidthOfHead;
  static constexpr int kQueries = kNumQueries;
  static constexpr int kKeys = kNumKeys;
  static constexpr int kQueryWarps = kNumQueryWarps;
  static constexpr int kColumnWarps = kNumColumnWarps;
  static constexpr int kWarps = kKeys / 32 * kQueryWarps;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRowWarps = kWarps / kColumnWarps;

  using Queries = SharedTile<kQueries, kWidth>;  // q and dout
  using Keys = SharedTile<kKeys, kWidth>;        // k and v
  using Scores = SharedTile<kKeys, kQueries>;    // probabilities and gradients of scores, a row per key

  // Of the warp's scores, among the 32s of keys and of queries.
  __device__ static int key_warp() { return this_warp() / kQueryWarps; }
  __device__ static int query_warp() { return this_warp() % kQueryWarps; }

  // A warp's part of dq.
  using QueryGradient = float[kQueries / kRowWarps / 16][kWidth / kColumnWarps / 8][4];
};

// What a tile, or its transpose, is to multiply_add.
enum class As { kLeft, kLeftTransposed, kRight, kRightTransposed };

// 16 x 16 pieces of a tile in shared memory, as operands.
template <typename Tile, As kAs>
class Pieces {
 public:
  // The pieces' corner; it begins at multiples of 16, and of what `load` adds (a power of two) at most.
  __device__ Pieces(const unsigned char* tile, int row, int column)
      : Pieces(tile, row, column, this_lane()) {}

  // The piece at row (of the left operand) or column (of the right one) `outer` of the product, and at
  // `depth` of the sum.
  __device__ void load(unsigned (&r)[4], int outer, int depth) const {
    constexpr bool kOuterIsRow = kAs == As::kLeft || kAs == As::kRightTransposed;
    const int row = kOuterIsRow ? outer : depth, column = kOuterIsRow ? depth : outer;
    const unsigned address =
        Tile::columns_on(address_, column / 16) + static_cast<unsigned>(row * Tile::kRowBytes);
    if constexpr (kAs == As::kLeftTransposed || kAs == As::kRight) {
      load_matrices_transposed(r, address);
    } else {
      load_matrices(r, address);
    }
  }

 private:
  // Whether the second of the four matrices is the one below the first, not beside it.
  static constexpr bool kDown = kAs == As::kLeft || kAs == As::kRight;

  __device__ Pieces(const unsigned char* tile, int row, int column, int lane)
      : address_(shared_address(tile) + Tile::offset(row + (kDown ? lane % 16 : lane / 16 * 8 + lane % 8),
                                                     column / 8 + (kDown ? lane / 16 : lane / 8 % 2))) {}

  unsigned address_;
};

// 32 keys by 32 queries in bf16, as a product has left them in a warp's registers: x[m][n][half] has of key
// 16 m + 8 half + lane / 4 the queries 8 n + lane % 4 * 2 and the next.
struct ScorePieces {
  unsigned x[2][4][2];

  // As left operand: see Pieces.
  __device__ void load(unsigned (&r)[4], int key, int query) const {
    r[0] = x[key / 16][query / 8][0];
    r[1] = x[key / 16][query / 8][1];
    r[2] = x[key / 16][query / 8 + 1][0];
    r[3] = x[key / 16][query / 8 + 1][1];
  }

  template <typename Tile>
  __device__ void store(unsigned char* tile, int first_key, int first_query) const {
    const int lane = this_lane();
    const unsigned offset =
        Tile::offset(first_key + lane / 4, first_query / 8) + static_cast<unsigned>(lane % 4 * 4);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const unsigned place =
              (offset ^ static_cast<unsigned>(n * 16)) + (16 * m + 8 * half) * Tile::kRowBytes;
          *reinterpret_cast<unsigned*>(tile + place) = x[m][n][half];
        }
      }
    }
  }
};

template <int kM, int kN>
__device__ void clear(float (&x)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[m][n][i] = 0.0F;
    }
  }
}

// sum += a b, over kDepth.  The 16-column pieces of the warp's part of b are kColumnStep apart.
template <int kDepth, int kColumnStep, typename A, typename B, int kM, int kN>
__device__ void multiply(float (&sum)[kM][kN][4], const A& a, const B& b) {
#pragma unroll
  for (int depth = 0; depth < kDepth; depth += 16) {
    unsigned left[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) a.load(left[m], 16 * m, depth);
#pragma unroll
    for (int n = 0; n < kN / 2; ++n) {
      unsigned right[4];
      b.load(right, n * kColumnStep, depth);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply_add(sum[m][2 * n], left[m], right[0], right[1]);
        multiply_add(sum[m][2 * n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

// Writes a warp's part of a product, times a factor, to a tile: rows from `row` on, 16-column pieces from
// `column` on, kColumnStep apart.
template <typename Tile, int kColumnStep, int kM, int kN>
__device__ void store_product(unsigned char* tile, int row, int column, const float (&x)[kM][kN][4],
                              float factor) {
  const int lane = this_lane();
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
      const int chunk = (column + n / 2 * kColumnStep) / 8 + n % 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned place =
            Tile::offset(row + 16 * m + 8 * half + lane / 4, chunk) + static_cast<unsigned>(lane % 4 * 4);
        *reinterpret_cast<unsigned*>(tile + place) =
            pack(x[m][n][2 * half] * factor, x[m][n][2 * half + 1] * factor);
      }
    }
  }
}

}  // namespace trireme::cuda
