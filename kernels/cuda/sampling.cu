#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/select.cuh"
#include "kernels/sampling.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 512;  // of a block, which has a row
// Of a multiprocessor.  Left to itself, nvcc takes few registers, and spills.
constexpr int kBlocksAtOnce = 2;

struct Draw {
  float scale;  // log2(e) / temperature
  int top_k;    // 0: all
  double top_p;
  std::uint64_t seed;
  std::uint64_t first;
};

// The row's likeliest token; all threads of the block get it.
template <int kWidth, typename T>
__device__ inline Place likeliest_of(const T* row, int width) {
  Place likeliest = 0;
  for_each_column<kThreads, kWidth>(width, [&]<int w>(int v) {
    const Floats<w> x = load_floats<w>(row + v);
#pragma unroll
    for (int j = 0; j < w; ++j) likeliest = max(likeliest, place_of(x[j], v + j));
  });
  return block_max<kThreads>(likeliest);
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    take_likeliest(std::int32_t* tokens, const T* logits, std::int64_t stride, int width) {
  const Place likeliest =
      likeliest_of<kWidth>(logits + static_cast<std::int64_t>(blockIdx.x) * stride, width);
  if (threadIdx.x == 0) tokens[blockIdx.x] = token_at(likeliest);
}

// The sum of x over the block's threads, which all get it.
__device__ inline Place block_total(Place x, SearchMemory<kThreads>& memory) {
  x = block_scan<kThreads>(x, memory.of_warps);
  if (threadIdx.x == kThreads - 1) memory.before = x;
  __syncthreads();
  x = memory.before;
  __syncthreads();  // all have read
  return x;
}

enum Step { kTopK, kTopP, kDraw };

// Each step is a search for the last token that is kept, the last step's is the one that is drawn.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce)
    draw_tokens(std::int32_t* tokens, const T* logits, std::int64_t stride, int width, const Draw draw) {
  __shared__ SearchMemory<kThreads> memory;
  const T* const row = logits + static_cast<std::int64_t>(blockIdx.x) * stride;
  const float largest = load_floats<1>(row + token_at(likeliest_of<kWidth>(row, width)))[0];
  // In units of 2^-38 of the largest.
  const auto probability = [=](float x) -> Place {
    const float exponent = x == largest ? 0.0F : (x - largest) * draw.scale;
    return exponent <= 0.0F ? static_cast<Place>(exp2f(exponent) * 0x1.0p38F) : 0;
  };
  Place last = 0;
  Place sum = 0;  // of what is kept
#pragma unroll 1
  for (int step = draw.top_k > 0 ? kTopK : kTopP; step <= kDraw; ++step) {
    Place bound = static_cast<Place>(draw.top_k) - 1;
    if (step == kTopP) {
      for_each_column<kThreads, kWidth>(width, [&]<int w>(int v) {
        const Floats<w> x = load_floats<w>(row + v);
#pragma unroll
        for (int j = 0; j < w; ++j) sum += place_of(x[j], v + j) >= last ? probability(x[j]) : 0;
      });
      sum = block_total(sum, memory);
      if (sum == 0) break;
      if (draw.top_p >= 1.0) continue;
      const auto reached = static_cast<Place>(ceil(draw.top_p * static_cast<double>(sum)));
      bound = min(sum, max(reached, Place{1})) - 1;
    } else if (step == kDraw) {
      const uint4 bits = philox(draw.seed, draw.first + blockIdx.x);
      const float uniform = static_cast<float>(bits.x >> 8) * 0x1.0p-24F;
      bound = static_cast<Place>(static_cast<double>(uniform) * static_cast<double>(sum));
    }
    const Found found = find_place<kThreads, kWidth>(
        memory, row, width, last, bound, [&](float x) { return step == kTopK ? 1 : probability(x); });
    last = found.place;
    if (step == kTopP) sum = found.before + found.measure;
  }
  if (threadIdx.x == 0) tokens[blockIdx.x] = sum == 0 ? 0 : token_at(last);
}

}  // namespace

void sample_tokens(Tensor tokens_N, Tensor logits_NV, const SamplingOptions& options, std::uint64_t draw,
                   Stream stream) {
  constexpr double kLog2E = 1.4426950408889634;
  const auto width = static_cast<int>(logits_NV.dim(1));
  const Grid grid = {logits_NV.dim(0), kThreads};
  with_type_and_width(logits_NV.dtype(), rows_are_aligned(logits_NV), [&]<typename T, int kWidth>() {
    auto* const tokens = tokens_N.data<std::int32_t>();
    const T* const logits = logits_NV.data<T>();
    if (options.temperature <= 0.0) {
      launch(take_likeliest<T, kWidth>, grid, stream, tokens, logits, logits_NV.stride(0), width);
      return;
    }
    const Draw how = {.scale = static_cast<float>(kLog2E / options.temperature),
                      .top_k = options.top_k < width ? static_cast<int>(options.top_k) : 0,
                      .top_p = options.top_p,
                      .seed = options.seed,
                      .first = draw};
    launch(draw_tokens<T, kWidth>, grid, stream, tokens, logits, logits_NV.stride(0), width, how);
  });
}

}  // namespace trireme::cuda
