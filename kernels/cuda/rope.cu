#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/rope.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
struct Operands {
  T* x;
  std::int64_t strides[3];  // of batch, position, head
  int length;               // T
  int num_tokens;           // B T
  const float* cos;
  const float* sin;
  int num_positions;
  int half;  // R
  int first_position;
  const std::int32_t* positions;  // null: they follow one another
  float direction;                // 1, or -1: back
  int packs_per_head;
  int packs_per_token;
  int tokens_per_block;
};

// A thread turns packs of pairs: kWidth elements of a head's first half with those of its second half.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) rotate(const Operands<T> p) {
  const int first_token = static_cast<int>(blockIdx.x) * p.tokens_per_block;
  const int num_tokens = min(p.tokens_per_block, p.num_tokens - first_token);
  for (int i = threadIdx.x; i < num_tokens * p.packs_per_token; i += kThreads) {
    const int token = first_token + i / p.packs_per_token;
    const int pack_of_token = i % p.packs_per_token;
    const int head = pack_of_token / p.packs_per_head;
    const int r = pack_of_token % p.packs_per_head * kWidth;
    const int t = token % p.length;
    const int position = p.positions == nullptr ? p.first_position + t : p.positions[token];
    if (position < 0 || position >= p.num_positions) __trap();
    T* const a = p.x + token / p.length * p.strides[0] + t * p.strides[1] + head * p.strides[2] + r;
    T* const b = a + p.half;
    const std::int64_t place = static_cast<std::int64_t>(position) * p.half + r;
    Floats<kWidth> first = load_floats<kWidth>(a);
    Floats<kWidth> second = load_floats<kWidth>(b);
    const Floats<kWidth> cos = load_floats<kWidth>(p.cos + place);
    const Floats<kWidth> sin = load_floats<kWidth>(p.sin + place);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float x = first[j];
      const float s = p.direction * sin[j];
      first[j] = x * cos[j] - second[j] * s;
      second[j] = second[j] * cos[j] + x * s;
    }
    store(a, pack<T>(first));
    store(b, pack<T>(second));
  }
}

void rotate_all(Tensor x_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position, Tensor positions_BT,
                float direction, const Stream& stream) {
  const std::int64_t half = cos_PR.dim(1);
  const bool strides_are_aligned =
      std::ranges::all_of(std::array{x_BTHD.stride(0), x_BTHD.stride(1), x_BTHD.stride(2), half},
                          [&](std::int64_t n) { return n * size_bytes(x_BTHD.dtype()) % 16 == 0; });
  const bool aligned =
      strides_are_aligned && are_aligned(x_BTHD.raw_data(), cos_PR.raw_data(), sin_PR.raw_data());
  with_type_and_width(x_BTHD.dtype(), aligned, [&]<typename T, int kWidth>() {
    const auto packs_per_head = static_cast<int>(half / kWidth);
    const int packs_per_token = packs_per_head * static_cast<int>(x_BTHD.dim(2));
    const auto num_tokens = static_cast<int>(x_BTHD.dim(0) * x_BTHD.dim(1));
    const int tokens_per_block = std::max(1, kThreads / std::max(1, packs_per_token));
    launch(rotate<T, kWidth>, {divide_up(num_tokens, tokens_per_block), kThreads}, stream,
           Operands<T>{.x = x_BTHD.data<T>(),
                       .strides = {x_BTHD.stride(0), x_BTHD.stride(1), x_BTHD.stride(2)},
                       .length = static_cast<int>(x_BTHD.dim(1)),
                       .num_tokens = num_tokens,
                       .cos = cos_PR.data<float>(),
                       .sin = sin_PR.data<float>(),
                       .num_positions = static_cast<int>(cos_PR.dim(0)),
                       .half = static_cast<int>(half),
                       .first_position = static_cast<int>(first_position),
                       .positions = positions_BT ? positions_BT.data<std::int32_t>() : nullptr,
                       .direction = direction,
                       .packs_per_head = packs_per_head,
                       .packs_per_token = packs_per_token,
                       .tokens_per_block = tokens_per_block});
  });
}

}  // namespace

void rope_forward(Tensor x_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                  Tensor positions_BT, Stream stream) {
  rotate_all(x_BTHD, cos_PR, sin_PR, first_position, positions_BT, 1.0F, stream);
}

void rope_backward(Tensor dx_BTHD, Tensor cos_PR, Tensor sin_PR, std::int64_t first_position,
                   Tensor positions_BT, Stream stream) {
  rotate_all(dx_BTHD, cos_PR, sin_PR, first_position, positions_BT, -1.0F, stream);
}

}  // namespace trireme::cuda
