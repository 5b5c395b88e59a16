#include <glog/logging.h>

#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/attention/launch_fp32.h"

namespace trireme::cuda {
namespace {

// Calls f with the narrowest width of an instantiation that holds `width`, as a type's value.
template <typename F>
void for_width(int width, F f) {
  if (width <= 32) return f(std::integral_constant<int, 32>());
  if (width <= 64) return f(std::integral_constant<int, 64>());
  if (width <= 96) return f(std::integral_constant<int, 96>());
  CHECK_LE(width, 128);
  f(std::integral_constant<int, 128>());
}

}  // namespace

void launch_attention_forward(const AttentionParameters<float>& p, StreamState& stream) {
  for_width(p.width, [&](auto width) { launch_attention_forward_fp32<width>(p, stream); });
}

void launch_attention_backward(const AttentionParameters<float>& p, StreamState& stream) {
  const std::int64_t rows = static_cast<std::int64_t>(p.num_sequences) * p.num_heads * p.num_queries;
  float* const delta = static_cast<float*>(stream.scratch(rows * static_cast<std::int64_t>(sizeof(float))));
  launch_attention_delta_fp32(p, delta, stream);
  for_width(p.width, [&](auto width) { launch_attention_backward_fp32<width>(p, delta, stream); });
}

}  // namespace trireme::cuda
