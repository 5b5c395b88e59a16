#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/embedding.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;

// Row n of a batch takes row ids[n] of a table, or without ids row first + n % length.
struct Rows {
  const std::int32_t* ids;
  int first;
  int length;      // T
  int whole;       // rows of the table
  int begin, end;  // those that are here

  // Counted from those that are here on; below 0 of another.
  __device__ int of(std::int64_t n) const {
    const int row = ids == nullptr ? first + static_cast<int>(n % length) : ids[n];
    if (row < 0 || row >= whole) __trap();
    return row < end ? row - begin : -1;
  }
};

Rows rows_of(const Tensor& ids_BT, const Tensor& table, std::int64_t first, const Tensor& x_BTC,
             const VocabularyPart& part = {}) {
  const std::int64_t size = table.num_dims() > 0 ? table.dim(0) : 0;
  return {.ids = ids_BT ? ids_BT.data<std::int32_t>() : nullptr,
          .first = static_cast<int>(first),
          .length = static_cast<int>(x_BTC.dim(1)),
          .whole = static_cast<int>(part.whole > 0 ? part.whole : size),
          .begin = static_cast<int>(part.first),
          .end = static_cast<int>(part.first + size)};
}

// A block has a row.
template <typename T, typename P, int kWidth>
__global__ void __launch_bounds__(kThreads)
    look_up(T* x, const T* token_table, const P* position_table, Rows tokens, Rows positions, float scale,
            DropoutMask dropout, int width) {
  const std::int64_t n = blockIdx.x;
  const int row = tokens.of(n);
  const T* const token = row < 0 ? nullptr : token_table + static_cast<std::int64_t>(row) * width;
  const P* const position = position_table == nullptr
                                ? nullptr
                                : position_table + static_cast<std::int64_t>(positions.of(n)) * width;
  for (int c = static_cast<int>(threadIdx.x) * kWidth; c < width; c += kThreads * kWidth) {
    Floats<kWidth> sum = {};
    if (token != nullptr) {
      sum = load_floats<kWidth>(token + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] *= scale;
    }
    if (position != nullptr) {
      const Floats<kWidth> added = load_floats<kWidth>(position + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] += added[j];
    }
    if (dropout) {
      const Floats<kWidth> factors = dropout.factors<kWidth>(n * width + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] *= factors[j];
    }
    store(x + n * width + c, pack<T>(sum));
  }
}

// Rows of a table are dealt out in classes, row r to class r % kClasses, so that every number of the gradient
// has one thread that adds to it, in the order of the batch: many threads, and always the same sum.
constexpr int kClasses = 64;

// gradient[rows.of(n)] += scale dropout(dx[n]), for all n.
template <typename G, typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) add_rows(G* gradient, const T* dx, Rows rows, float scale,
                                                     DropoutMask dropout, std::int64_t num_rows, int width) {
  const int my_class = static_cast<int>(blockIdx.x) % kClasses;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int c = static_cast<int>(blockIdx.x / kClasses * kThreads + threadIdx.x) * kWidth;
  for (std::int64_t base = 0; base < num_rows; base += kWarpSize) {
    const int row_of_lane = base + lane < num_rows ? rows.of(base + lane) : -1;
    unsigned mine = __ballot_sync(0xFFFFFFFFU, row_of_lane >= 0 && row_of_lane % kClasses == my_class);
    while (mine != 0) {
      const int i = __ffs(static_cast<int>(mine)) - 1;
      mine &= mine - 1;
      const std::int64_t row = __shfl_sync(0xFFFFFFFFU, row_of_lane, i);
      if (c >= width) continue;
      const std::int64_t from = (base + i) * width + c;
      Floats<kWidth> added = load_floats<kWidth>(dx + from);
      if (dropout) {
        const Floats<kWidth> factors = dropout.factors<kWidth>(from);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) added[j] *= factors[j];
      }
      G* const to = gradient + row * width + c;
      Floats<kWidth> sum = load_floats<kWidth>(to);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] += scale * added[j];
      store(to, pack<G>(sum));
    }
  }
}

void add_rows_of(Tensor gradient, Tensor dx_BTC, const Rows& rows, float scale, const Dropout& dropout,
                 const Stream& stream) {
  const std::int64_t width = dx_BTC.dim(2);
  const std::int64_t num_rows = dx_BTC.dim(0) * dx_BTC.dim(1);
  const bool aligned =
      width * size_bytes(dx_BTC.dtype()) % 16 == 0 && are_aligned(gradient.raw_data(), dx_BTC.raw_data());
  const auto run = [&]<typename G, typename T, int kWidth>() {
    launch(add_rows<G, T, kWidth>, {kClasses * divide_up(width, kThreads * kWidth), kThreads}, stream,
           gradient.data<G>(), dx_BTC.data<T>(), rows, scale, DropoutMask(dropout), num_rows,
           static_cast<int>(width));
  };
  with_type_and_width(dx_BTC.dtype(), aligned, [&]<typename T, int kWidth>() {
    if (gradient.dtype() == DType::kFloat32) {
      run.template operator()<float, T, kWidth>();
    } else {
      run.template operator()<T, T, kWidth>();
    }
  });
}

}  // namespace

void embedding_forward(Tensor x_BTC, Tensor tokens_BT, Tensor token_table_VC, Tensor position_table_PC,
                       std::int64_t first_position, Tensor positions_BT, float scale, Dropout dropout,
                       Stream stream, VocabularyPart part) {
  const std::int64_t width = x_BTC.dim(2);
  const std::int64_t num_rows = x_BTC.dim(0) * x_BTC.dim(1);
  const bool aligned = width * size_bytes(x_BTC.dtype()) % 16 == 0 &&
                       are_aligned(x_BTC.raw_data(), token_table_VC.raw_data(), position_table_PC.raw_data());
  const Rows tokens = rows_of(tokens_BT, token_table_VC, 0, x_BTC, part);
  const Rows positions = rows_of(positions_BT, position_table_PC, first_position, x_BTC);
  const auto run = [&]<typename T, typename P, int kWidth>() {
    launch(look_up<T, P, kWidth>, {num_rows, kThreads}, stream, x_BTC.data<T>(),
           token_table_VC ? token_table_VC.data<T>() : nullptr,
           position_table_PC ? position_table_PC.data<P>() : nullptr, tokens, positions, scale,
           DropoutMask(dropout), static_cast<int>(width));
  };
  with_type_and_width(x_BTC.dtype(), aligned, [&]<typename T, int kWidth>() {
    if (position_table_PC && position_table_PC.dtype() == DType::kFloat32) {
      run.template operator()<T, float, kWidth>();
    } else {
      run.template operator()<T, T, kWidth>();
    }
  });
}

void embedding_backward(Tensor dtoken_table_VC, Tensor dposition_table_PC, Tensor dx_BTC, Tensor tokens_BT,
                        Tensor positions_BT, float scale, Dropout dropout, Stream stream,
                        VocabularyPart part) {
  add_rows_of(dtoken_table_VC, dx_BTC, rows_of(tokens_BT, dtoken_table_VC, 0, dx_BTC, part), scale, dropout,
              stream);
  if (!dposition_table_PC) return;
  add_rows_of(dposition_table_PC, dx_BTC, rows_of(positions_BT, dposition_table_PC, 0, dx_BTC), 1.0F, dropout,
              stream);
}

}  // namespace trireme::cuda
