#include "kernels/cuda/activation_functions.cuh"
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/halting.h"

namespace trireme::cuda {
namespace {

constexpr int kRowsPerBlock = 8;  // a warp for each
constexpr int kThreadsOfTotal = 1024;

Grid grid_of_rows(std::int64_t num_rows) {
  return {divide_up(num_rows, kRowsPerBlock), dim3(kWarpSize, kRowsPerBlock)};
}

// The row of this warp.
__device__ inline std::int64_t row_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.y;
}

// Calls body(i) for the first of each kWidth elements that are this lane's of the row.  REQUIRES: kWidth
// divides the width.
template <int kWidth, typename Body>
__device__ inline void for_each_of_row(std::int64_t row, int width, Body body) {
  const std::int64_t begin = row * width;
  for (int c = static_cast<int>(threadIdx.x) * kWidth; c < width; c += kWarpSize * kWidth) body(begin + c);
}

template <typename T>
struct Forward {
  T* mean;
  T* state;
  float* weight;
  float* remainder;
  std::int32_t* loops;
  const T* previous;  // null in the first loop
  const T* logit;
  std::int64_t num_rows;
  int width;
  std::int32_t ran;  // loops, when this one is done
  bool is_last;
  float threshold;
};

template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) mix_states(const Forward<T> p) {
  const std::int64_t row = row_of_warp();
  if (row >= p.num_rows) return;
  const bool is_first = p.ran == 1;
  const bool has_halted = !is_first && p.loops[row] > 0;
  const float remainder = is_first ? 1.0F : p.remainder[row];
  const float probability = sigmoid(load_floats<1>(p.logit + row)[0]);
  const bool halts = p.is_last || 1.0F - remainder + probability > p.threshold;
  const float weight = has_halted ? 0.0F : halts ? remainder : probability;
  __syncwarp();  // all lanes have read
  if (threadIdx.x == 0) {
    p.weight[row] = weight;
    if (!has_halted) {
      p.loops[row] = halts ? p.ran : 0;
      p.remainder[row] = halts ? remainder : remainder - probability;
    }
  }
  for_each_of_row<kWidth>(row, p.width, [&](std::int64_t i) {
    if (has_halted) {
      store(p.state + i, load<kWidth>(p.previous + i));
      return;
    }
    const Floats<kWidth> state = load_floats<kWidth>(p.state + i);
    Floats<kWidth> mean = {};
    if (!is_first) mean = load_floats<kWidth>(p.mean + i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) mean[j] += weight * state[j];
    store(p.mean + i, pack<T>(mean));
  });
}

template <typename T>
struct Backward {
  T* dlogit;
  float* dremainder;
  T* dstate;
  T* dprevious;
  const T* dmean;
  const float* dponder;
  const T* state;
  const float* weight;
  const std::int32_t* loops;
  std::int64_t num_rows;
  int width;
  std::int32_t ran;
};

template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) mix_states_backward(const Backward<T> p) {
  const std::int64_t row = row_of_warp();
  if (row >= p.num_rows) return;
  const bool had_halted = p.loops[row] < p.ran;
  const float weight = p.weight[row];
  float dweight = 0.0F;
  for_each_of_row<kWidth>(row, p.width, [&](std::int64_t i) {
    Floats<kWidth> dstate = load_floats<kWidth>(p.dstate + i);
    if (had_halted) {
      store(p.dprevious + i, pack<T>(dstate));
      store(p.dstate + i, pack<T>(Floats<kWidth>{}));
      return;
    }
    const Floats<kWidth> dmean = load_floats<kWidth>(p.dmean + i);
    const Floats<kWidth> state = load_floats<kWidth>(p.state + i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      dweight += dmean[j] * state[j];
      dstate[j] += weight * dmean[j];
    }
    store(p.dprevious + i, pack<T>(Floats<kWidth>{}));
    store(p.dstate + i, pack<T>(dstate));
  });
  dweight = warp_sum(dweight);
  if (threadIdx.x > 0) return;
  const bool halts = p.loops[row] == p.ran;
  // The weight of a loop that isn't the row's last is p, by which the remainder of the last one falls.
  const float dlogit = had_halted || halts ? 0.0F : (dweight - p.dremainder[row]) * weight * (1.0F - weight);
  store(p.dlogit + row, pack<T>(Floats<1>{{dlogit}}));
  if (halts) p.dremainder[row] = dweight + p.dponder[row];
}

__global__ void __launch_bounds__(kThreadsOfTotal)
    add_ponder_loss(float* loss, float* dponder, const float* remainder, const std::int32_t* loops,
                    const std::int32_t* counted, float cost, float scale, std::int64_t num_rows) {
  double sum = 0.0;
  for (std::int64_t n = threadIdx.x; n < num_rows; n += kThreadsOfTotal) {
    const bool counts = counted[n] >= 0;
    dponder[n] = counts ? cost * scale : 0.0F;
    if (counts) sum += static_cast<double>(loops[n]) + static_cast<double>(remainder[n]);
  }
  sum = block_sum<kThreadsOfTotal>(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(*loss + static_cast<double>(cost) * sum);
}

// Whether rows can be read in whole vectors.
template <typename... Pointers>
bool rows_are_aligned(const Tensor& state_NC, const Pointers*... pointers) {
  return state_NC.dim(1) % (16 / size_bytes(state_NC.dtype())) == 0 && are_aligned(pointers...);
}

}  // namespace

void halting_forward(Tensor mean_NC, Tensor state_NC, Tensor weight_N, Tensor remainder_N, Tensor loops_N,
                     Tensor previous_NC, Tensor logit_N, const HaltingOptions& options, Stream stream) {
  const bool is_aligned =
      rows_are_aligned(state_NC, mean_NC.raw_data(), state_NC.raw_data(), previous_NC.raw_data());
  with_type_and_width(state_NC.dtype(), is_aligned, [&]<typename T, int kWidth>() {
    const Forward<T> operands{.mean = mean_NC.data<T>(),
                              .state = state_NC.data<T>(),
                              .weight = weight_N.data<float>(),
                              .remainder = remainder_N.data<float>(),
                              .loops = loops_N.data<std::int32_t>(),
                              .previous = options.loop > 0 ? previous_NC.data<T>() : nullptr,
                              .logit = logit_N.data<T>(),
                              .num_rows = state_NC.dim(0),
                              .width = static_cast<int>(state_NC.dim(1)),
                              .ran = static_cast<std::int32_t>(options.loop + 1),
                              .is_last = options.loop + 1 == options.num_loops,
                              .threshold = options.threshold};
    launch(mix_states<T, kWidth>, grid_of_rows(state_NC.dim(0)), stream, operands);
  });
}

void halting_backward(Tensor dlogit_N, Tensor dremainder_N, Tensor dstate_NC, Tensor dprevious_NC,
                      Tensor dmean_NC, Tensor dponder_N, Tensor state_NC, Tensor weight_N, Tensor loops_N,
                      std::int64_t loop, Stream stream) {
  const bool is_aligned = rows_are_aligned(state_NC, dstate_NC.raw_data(), dprevious_NC.raw_data(),
                                           dmean_NC.raw_data(), state_NC.raw_data());
  with_type_and_width(state_NC.dtype(), is_aligned, [&]<typename T, int kWidth>() {
    const Backward<T> operands{.dlogit = dlogit_N.data<T>(),
                               .dremainder = dremainder_N.data<float>(),
                               .dstate = dstate_NC.data<T>(),
                               .dprevious = dprevious_NC.data<T>(),
                               .dmean = dmean_NC.data<T>(),
                               .dponder = dponder_N.data<float>(),
                               .state = state_NC.data<T>(),
                               .weight = weight_N.data<float>(),
                               .loops = loops_N.data<std::int32_t>(),
                               .num_rows = state_NC.dim(0),
                               .width = static_cast<int>(state_NC.dim(1)),
                               .ran = static_cast<std::int32_t>(loop + 1)};
    launch(mix_states_backward<T, kWidth>, grid_of_rows(state_NC.dim(0)), stream, operands);
  });
}

void ponder_loss(Tensor loss_1, Tensor dponder_N, Tensor remainder_N, Tensor loops_N, Tensor counted_N,
                 float cost, float scale, Stream stream) {
  launch(add_ponder_loss, {1, kThreadsOfTotal}, stream, loss_1.data<float>(), dponder_N.data<float>(),
         remainder_N.data<float>(), loops_N.data<std::int32_t>(), counted_N.data<std::int32_t>(), cost, scale,
         remainder_N.num_elements());
}

}  // namespace trireme::cuda
