// fp32 tiles in shared memory, and their products, which a block of 128 threads holds in registers.
//
// The threads of a block stand in 16 rows of 8, a warp in 4 of them.  Rows of a tile begin four banks apart,
// so that the 16-byte reads of 4 or 8 rows one after the other, and of 128 bytes of one row, meet in no bank.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/async_copy.cuh"

namespace trireme::cuda::fp32 {

constexpr int kThreads = 128;
constexpr int kThreadRows = 16;
constexpr int kThreadColumns = 8;

// Blocks that are to run at a time on a multiprocessor: what its shared memory (of an A100: 164 KiB, and each
// block 1 KiB more than it asks for) has room for, up to 12 warps.  Registers must do.
constexpr int blocks_per_multiprocessor(int shared_bytes) {
  const int fit = 164 * 1024 / (shared_bytes + 1024);
  return fit < 3 ? fit : 3;
}

__device__ inline int thread_row() {
  return static_cast<int>(threadIdx.x) / kThreadColumns;
}
__device__ inline int thread_column() {
  return static_cast<int>(threadIdx.x) % kThreadColumns;
}

// Row i of a thread in a product.
__device__ inline int row_of(int i) {
  return thread_row() + i * kThreadRows;
}

template <int kRows_, int kColumns_>
struct Tile {
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kStride = kColumns + 4;
  static constexpr int kFloats = kRows * kStride;
};

// Where rows of a tile lie.  In the order of keys, a thread whose product has columns thread_column + 8 j of
// a tile has runs of four keys: 4 thread_column to 4 thread_column + 3, and the same 32 further on.
struct InOrder {
  __device__ static constexpr int place(int row) { return row; }
  static constexpr int kStep = 1;  // from one row to the next, among four
};
struct KeyOrder {
  // In operations on bits: of row % 32 / 4 nvcc 13.0 loses the division where row is a loop's counter plus 1.
  __device__ static constexpr int place(int row) { return (row & ~31) | (row & 3) << 3 | (row & 31) >> 2; }
  static constexpr int kStep = 8;
};
// Where an element of a tile lies, in bytes.
template <typename T, typename Order>
__device__ unsigned place_in(int row, int column) {
  return static_cast<unsigned>(Order::place(row) * T::kStride + column) * 4;
}
// The key of a thread's column j, in the order of keys.
__device__ inline int key_of_column(int j) {
  return j / 4 * 32 + thread_column() * 4 + j % 4;
}

__device__ inline float4 load4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}
__device__ inline void store4(float* p, float4 x) {
  *reinterpret_cast<float4*>(p) = x;
}

// Starts to copy rows [first, first + T::kRows) of `rows` to a tile.  Rows from `num_rows` on, and columns
// from `width` on, become zeros.  Loops aren't unrolled where that would cost registers: copies are few.
template <typename T, typename Order = InOrder>
__device__ void start_copy(float* tile, const float* rows, std::int64_t row_stride, int first, int num_rows,
                           int width, bool is_aligned) {
  rows += first * row_stride;
  num_rows -= first;
  const unsigned to = shared_address(tile);
  if (is_aligned) {
#pragma unroll 1
    for (int row = thread_row(); row < T::kRows; row += kThreadRows) {
#pragma unroll
      for (int column = 0; column < T::kColumns; column += 4 * kThreadColumns) {
        const int mine = column + 4 * thread_column();
        const bool is_there = row < num_rows && mine < width;
        copy_async(to + place_in<T, Order>(row, mine), is_there ? rows + row * row_stride + mine : rows,
                   is_there);
      }
    }
  } else {
    constexpr int kLanes = 32;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll 1
    for (int row = static_cast<int>(threadIdx.x) / kLanes; row < T::kRows; row += kThreads / kLanes) {
#pragma unroll 1
      for (int column = lane; column < T::kColumns; column += kLanes) {
        const bool is_there = row < num_rows && column < width;
        copy_async_4(to + place_in<T, Order>(row, column), is_there ? rows + row * row_stride + column : rows,
                     is_there);
      }
    }
  }
}

// c[i][j] = the dot product of row `thread_row + 16 i` of tile a and row `thread_column + 8 j` of tile b.
template <typename A, typename B>
__device__ void multiply_rows(float (&c)[A::kRows / kThreadRows][B::kRows / kThreadColumns], const float* a,
                              const float* b) {
  static_assert(A::kColumns == B::kColumns);
  constexpr int kI = A::kRows / kThreadRows, kJ = B::kRows / kThreadColumns;
  a += thread_row() * A::kStride;
  b += thread_column() * B::kStride;
#pragma unroll
  for (int i = 0; i < kI; ++i) {
#pragma unroll
    for (int j = 0; j < kJ; ++j) c[i][j] = 0.0F;
  }
#pragma unroll 2
  for (int d = 0; d < A::kColumns; d += 4) {
    float4 x[kI];
#pragma unroll
    for (int i = 0; i < kI; ++i) x[i] = load4(a + i * kThreadRows * A::kStride + d);
#pragma unroll
    for (int j = 0; j < kJ; ++j) {
      const float4 y = load4(b + j * kThreadColumns * B::kStride + d);
#pragma unroll
      for (int i = 0; i < kI; ++i) {
        c[i][j] = fmaf(x[i].x, y.x, c[i][j]);
        c[i][j] = fmaf(x[i].y, y.y, c[i][j]);
        c[i][j] = fmaf(x[i].z, y.z, c[i][j]);
        c[i][j] = fmaf(x[i].w, y.w, c[i][j]);
      }
    }
  }
}

__device__ inline void add_multiple(float4& sum, float a, float4 x) {
  sum.x = fmaf(a, x.x, sum.x);
  sum.y = fmaf(a, x.y, sum.y);
  sum.z = fmaf(a, x.z, sum.z);
  sum.w = fmaf(a, x.w, sum.w);
}

// What a thread holds of a product of kRows x kColumns: rows of the thread, and of each the columns
// 4 thread_column to 4 thread_column + 3 and those 32, 64, ... further on.
template <int kRows, int kColumns>
class Accumulator {
 public:
  static constexpr int kI = kRows / kThreadRows;
  static constexpr int kVectors = kColumns / (4 * kThreadColumns);

  __device__ Accumulator() {
#pragma unroll
    for (int i = 0; i < kI; ++i) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) sum_[i][v] = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
    }
  }

  // Adds a b; rows of b lie as `Order` has it.  The thread's rows are thread_row + 16 i.
  template <typename A, typename B, typename Order>
  __device__ void add_product(const float* a, const float* b) {
    static_assert(A::kRows == kRows && A::kColumns == B::kRows && B::kColumns == kColumns);
    a += thread_row() * A::kStride;
    b += 4 * thread_column();
#pragma unroll 2
    for (int k = 0; k < A::kColumns; k += 4) {
      float4 x[kI];
#pragma unroll
      for (int i = 0; i < kI; ++i) x[i] = load4(a + i * kThreadRows * A::kStride + k);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float* const row = b + (Order::place(k) + n * Order::kStep) * B::kStride;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          const float4 y = load4(row + v * 4 * kThreadColumns);
#pragma unroll
          for (int i = 0; i < kI; ++i)
            add_multiple(sum_[i][v], n == 0 ? x[i].x : n == 1 ? x[i].y : n == 2 ? x[i].z : x[i].w, y);
        }
      }
    }
  }

  // Adds the transpose of a, times b.  The thread's rows are kI thread_row + i.
  template <typename A, typename B>
  __device__ void add_product_of_transpose(const float* a, const float* b) {
    static_assert(A::kColumns == kRows && A::kRows == B::kRows && B::kColumns == kColumns);
    static_assert(kI == 2 || kI == 4);
    a += thread_row() * kI;
    b += 4 * thread_column();
#pragma unroll 4
    for (int k = 0; k < A::kRows; ++k) {
      float x[kI];
      if constexpr (kI == 4) {
        *reinterpret_cast<float4*>(x) = load4(a + k * A::kStride);
      } else {
        *reinterpret_cast<float2*>(x) = *reinterpret_cast<const float2*>(a + k * A::kStride);
      }
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const float4 y = load4(b + k * B::kStride + v * 4 * kThreadColumns);
#pragma unroll
        for (int i = 0; i < kI; ++i) add_multiple(sum_[i][v], x[i], y);
      }
    }
  }

  __device__ void scale_row(int i, float factor) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      sum_[i][v].x *= factor;
      sum_[i][v].y *= factor;
      sum_[i][v].z *= factor;
      sum_[i][v].w *= factor;
    }
  }

  // Writes row i, times `factor`, to a row of `width` numbers.
  __device__ void store_row(int i, float factor, float* row, int width, bool is_aligned) const {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = 4 * (thread_column() + v * kThreadColumns);
      const float4 x = make_float4(sum_[i][v].x * factor, sum_[i][v].y * factor, sum_[i][v].z * factor,
                                   sum_[i][v].w * factor);
      if (is_aligned) {
        if (column < width) store4(row + column, x);
      } else {
        if (column < width) row[column] = x.x;
        if (column + 1 < width) row[column + 1] = x.y;
        if (column + 2 < width) row[column + 2] = x.z;
        if (column + 3 < width) row[column + 3] = x.w;
      }
    }
  }

 private:
  float4 sum_[kI][kVectors];
};

}  // namespace trireme::cuda::fp32
