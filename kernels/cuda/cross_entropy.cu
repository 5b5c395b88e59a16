#include "kernels/cross_entropy.h"
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 512;  // of a block, which has a row
constexpr float kLog2E = 1.4426950408889634F;

// 2^(x log2 e); the device's own, off by a few units in the last place.
__device__ inline float fast_exp(float x) {
  return exp2f(x * kLog2E);
}

// The sum of exp(x - largest) over some x, and the sum of x.
struct Sums {
  float largest = -3.4028235e38F;  // finite, so that a row of -Inf is not Inf - Inf
  float exponentials = 0.0F;
  float numbers = 0.0F;

  template <int w>
  __device__ void add(const Floats<w>& x) {
    float now = largest;
#pragma unroll
    for (int j = 0; j < w; ++j) now = fmaxf(now, x[j]);
    exponentials *= fast_exp(largest - now);
    largest = now;
#pragma unroll
    for (int j = 0; j < w; ++j) {
      exponentials += fast_exp(x[j] - now);
      numbers += x[j];
    }
  }

  __device__ void add(const Sums& other) {
    const float now = fmaxf(largest, other.largest);
    exponentials =
        exponentials * fast_exp(largest - now) + other.exponentials * fast_exp(other.largest - now);
    largest = now;
    numbers += other.numbers;
  }

  __device__ Sums from_lane(int distance) const {
    return {__shfl_xor_sync(0xFFFFFFFFU, largest, distance),
            __shfl_xor_sync(0xFFFFFFFFU, exponentials, distance),
            __shfl_xor_sync(0xFFFFFFFFU, numbers, distance)};
  }
};

// The first warp gets the sums of all of the block's threads, which all call it, once.
__device__ inline Sums block_sums(Sums sums) {
  constexpr int kWarps = kThreads / kWarpSize;
  __shared__ Sums of_warps[kWarps];
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) sums.add(sums.from_lane(distance));
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (lane == 0) of_warps[warp] = sums;
  __syncthreads();
  if (warp > 0) return sums;
  sums = lane < kWarps ? of_warps[lane] : Sums{};
#pragma unroll
  for (int distance = kWarps / 2; distance > 0; distance /= 2) sums.add(sums.from_lane(distance));
  return sums;
}

// The columns of logits, as tokens of the vocabulary.
struct Columns {
  int width;
  int first;
  int whole;

  // The row's target, counted in columns, of which it may be none; or kNoTarget.
  __device__ int target_of_row(const std::int32_t* targets) const {
    const int target = targets[blockIdx.x];
    if (target == kIgnoredTarget) return kNoTarget;
    if (target < 0 || target >= whole) __trap();
    return target - first;
  }
  __device__ bool contain(int column) const { return 0 <= column && column < width; }

  static constexpr int kNoTarget = -0x7FFFFFFF;
};

Columns columns_of(const Tensor& logits_NV, const VocabularyPart& part) {
  const auto width = static_cast<int>(logits_NV.dim(1));
  return {.width = width,
          .first = static_cast<int>(part.first),
          .whole = part.whole > 0 ? static_cast<int>(part.whole) : width};
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    softmax_loss(float* lse, float* target_logit, float* smoothed_logit, const T* logits, std::int64_t stride,
                 const std::int32_t* targets, float label_smoothing, Columns columns) {
  const T* const row = logits + static_cast<std::int64_t>(blockIdx.x) * stride;
  const int target = columns.target_of_row(targets);
  if (target == Columns::kNoTarget) {
    if (threadIdx.x > 0) return;
    lse[blockIdx.x] = target_logit[blockIdx.x] = 0.0F;
    if (smoothed_logit != nullptr) smoothed_logit[blockIdx.x] = 0.0F;
    return;
  }
  Sums sums;
  for_each_column<kThreads, kWidth>(columns.width, [&]<int w>(int v) { sums.add(load_floats<w>(row + v)); });
  sums = block_sums(sums);
  if (threadIdx.x > 0) return;
  lse[blockIdx.x] = sums.largest + logf(sums.exponentials);
  float at_target = columns.contain(target) ? load_floats<1>(row + target)[0] : 0.0F;
  target_logit[blockIdx.x] = at_target;
  if (smoothed_logit == nullptr) return;
  // Not by 0: an impossible token's logit is -Inf.
  if (label_smoothing > 0.0F)
    at_target += label_smoothing * (sums.numbers / static_cast<float>(columns.whole) - at_target);
  smoothed_logit[blockIdx.x] = at_target;
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    softmax_gradient(T* dlogits, std::int64_t dstride, const T* logits, std::int64_t stride, const float* lse,
                     const std::int32_t* targets, float label_smoothing, float scale, Columns columns) {
  const T* const row = logits + static_cast<std::int64_t>(blockIdx.x) * stride;
  T* const drow = dlogits + static_cast<std::int64_t>(blockIdx.x) * dstride;
  const int target = columns.target_of_row(targets);
  const bool is_ignored = target == Columns::kNoTarget;
  const float log_sum = lse[blockIdx.x];
  const float everywhere = scale * label_smoothing / static_cast<float>(columns.whole);
  const float at_target = scale * (1.0F - label_smoothing);
  for_each_column<kThreads, kWidth>(columns.width, [&]<int w>(int v) {
    Floats<w> x = load_floats<w>(row + v);
#pragma unroll
    for (int j = 0; j < w; ++j) {
      x[j] = scale * fast_exp(x[j] - log_sum) - everywhere - (v + j == target ? at_target : 0.0F);
      if (is_ignored) x[j] = 0.0F;
    }
    store(drow + v, pack<T>(x));
  });
}

__global__ void __launch_bounds__(kThreads)
    combine(float* lse, float* target_logit, float* smoothed_logit, const float* parts,
            const std::int32_t* targets, int num_parts, std::int64_t num_rows) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (n >= num_rows) return;
  float largest = -3.4028235e38F;
  for (int r = 0; r < num_parts; ++r) largest = fmaxf(largest, parts[3 * r * num_rows + n]);
  float exponentials = 0.0F;
  float at_target = 0.0F;
  float smoothed = 0.0F;
  for (int r = 0; r < num_parts; ++r) {
    const float* const part = parts + 3 * r * num_rows + n;
    exponentials += fast_exp(part[0] - largest);
    at_target += part[num_rows];
    smoothed += part[2 * num_rows];
  }
  lse[n] = targets[n] == kIgnoredTarget ? 0.0F : largest + logf(exponentials);
  target_logit[n] = at_target;
  smoothed_logit[n] = smoothed;
}

}  // namespace

void cross_entropy_forward(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor logits_NV,
                           Tensor targets_N, float label_smoothing, Stream stream, VocabularyPart part) {
  with_type_and_width(logits_NV.dtype(), rows_are_aligned(logits_NV), [&]<typename T, int kWidth>() {
    launch(softmax_loss<T, kWidth>, {logits_NV.dim(0), kThreads}, stream, lse_N.data<float>(),
           target_logit_N.data<float>(), smoothed_logit_N ? smoothed_logit_N.data<float>() : nullptr,
           logits_NV.data<T>(), logits_NV.stride(0), targets_N.data<std::int32_t>(), label_smoothing,
           columns_of(logits_NV, part));
  });
}

void cross_entropy_combine(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor parts_R3N,
                           Tensor targets_N, Stream stream) {
  const std::int64_t num_rows = parts_R3N.dim(2);
  launch(combine, {divide_up(num_rows, kThreads), kThreads}, stream, lse_N.data<float>(),
         target_logit_N.data<float>(), smoothed_logit_N.data<float>(), parts_R3N.data<float>(),
         targets_N.data<std::int32_t>(), static_cast<int>(parts_R3N.dim(0)), num_rows);
}

void cross_entropy_backward(Tensor dlogits_NV, Tensor logits_NV, Tensor lse_N, Tensor targets_N,
                            float label_smoothing, float scale, Stream stream, VocabularyPart part) {
  const bool aligned = rows_are_aligned(logits_NV) && rows_are_aligned(dlogits_NV);
  with_type_and_width(logits_NV.dtype(), aligned, [&]<typename T, int kWidth>() {
    launch(softmax_gradient<T, kWidth>, {logits_NV.dim(0), kThreads}, stream, dlogits_NV.data<T>(),
           dlogits_NV.stride(0), logits_NV.data<T>(), logits_NV.stride(0), lse_N.data<float>(),
           targets_N.data<std::int32_t>(), label_smoothing, scale, columns_of(logits_NV, part));
  });
}

}  // namespace trireme::cuda
