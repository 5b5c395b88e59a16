#include "kernels/cuda/activation_functions.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/gated_activation.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPacks = 2;  // of a thread

// A row is cut into as many ranges of columns as there are blocks for it.
template <int kWidth>
constexpr int kColumnsOfBlock = kThreads* kPacks* kWidth;

// Calls body(row, column) for each pack of the block's range.  Columns are counted in 32 bits: of 64, nvcc
// loses sight of which stores lie side by side, and takes those of a vector apart.
template <int kWidth, typename Body>
__device__ inline void for_each_column(int width, Body body) {
  const int ranges = (width + kColumnsOfBlock<kWidth> - 1) / kColumnsOfBlock<kWidth>;
  const int block = static_cast<int>(blockIdx.x);
  const std::int64_t row = block / ranges;
  int column = block % ranges * kColumnsOfBlock<kWidth> + static_cast<int>(threadIdx.x) * kWidth;
#pragma unroll
  for (int k = 0; k < kPacks; ++k, column += kThreads * kWidth) {
    if (column < width) body(row, column);
  }
}

template <int kWidth>
Grid grid_of(std::int64_t num_rows, std::int64_t width) {
  return {num_rows * divide_up(width, kColumnsOfBlock<kWidth>), kThreads};
}

template <typename Function, typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) gate(T* y, const T* x, int width) {
  for_each_column<kWidth>(width, [=](std::int64_t row, int column) {
    const T* const gate = x + row * 2 * width + column;
    const Floats<kWidth> gates = load_floats<kWidth>(gate);
    Floats<kWidth> up = load_floats<kWidth>(gate + width);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) up[j] *= Function::value(gates[j]);
    store(y + row * width + column, pack<T>(up));
  });
}

template <typename Function, typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) ungate(T* dx, const T* dy, const T* x, int width) {
  for_each_column<kWidth>(width, [=](std::int64_t row, int column) {
    const std::int64_t place = row * 2 * width + column;
    Floats<kWidth> gates = load_floats<kWidth>(x + place);
    Floats<kWidth> up = load_floats<kWidth>(x + place + width);
    const Floats<kWidth> d = load_floats<kWidth>(dy + row * width + column);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float g = gates[j];
      gates[j] = d[j] * up[j] * Function::derivative(g);
      up[j] = d[j] * Function::value(g);
    }
    store(dx + place, pack<T>(gates));
    store(dx + place + width, pack<T>(up));
  });
}

template <typename Run>
void with_rows(const Tensor& rows_NF, bool is_aligned, Run run) {
  const bool aligned = is_aligned && rows_NF.dim(1) * size_bytes(rows_NF.dtype()) % 16 == 0;
  with_type_and_width(rows_NF.dtype(), aligned, run);
}

}  // namespace

void gated_activation_forward(Tensor y_NF, Tensor x_NG, Activation activation, Stream stream) {
  const bool aligned = are_aligned(y_NF.raw_data(), x_NG.raw_data());
  with_function(activation, [&](auto function) {
    with_rows(y_NF, aligned, [&]<typename T, int kWidth>() {
      launch(gate<decltype(function), T, kWidth>, grid_of<kWidth>(y_NF.dim(0), y_NF.dim(1)), stream,
             y_NF.data<T>(), x_NG.data<T>(), static_cast<int>(y_NF.dim(1)));
    });
  });
}

void gated_activation_backward(Tensor dx_NG, Tensor dy_NF, Tensor x_NG, Activation activation,
                               Stream stream) {
  const bool aligned = are_aligned(dx_NG.raw_data(), dy_NF.raw_data(), x_NG.raw_data());
  with_function(activation, [&](auto function) {
    with_rows(dy_NF, aligned, [&]<typename T, int kWidth>() {
      launch(ungate<decltype(function), T, kWidth>, grid_of<kWidth>(dy_NF.dim(0), dy_NF.dim(1)), stream,
             dx_NG.data<T>(), dy_NF.data<T>(), x_NG.data<T>(), static_cast<int>(dy_NF.dim(1)));
    });
  });
}

}  // namespace trireme::cuda
