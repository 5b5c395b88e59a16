#include "kernels/cuda/attention/backward_bf16.h"

#include <glog/logging.h>

#include "kernels/cuda/attention/launch.h"

namespace trireme::cuda {
namespace {

constexpr int kMaxGrid = 65535;  // along y and z

}  // namespace

void launch_attention_backward(const AttentionParameters<Bfloat16>& p, StreamState& stream) {
  CHECK_LE(p.num_heads, kMaxGrid) << "attention: heads";
  CHECK_LE(p.num_sequences, kMaxGrid) << "attention: sequences";
  if (p.width <= 32) {
    launch_backward_bf16<32>(p, stream);
  } else if (p.width <= 64) {
    launch_backward_bf16<64>(p, stream);
  } else if (p.width <= 96) {
    launch_backward_bf16<96>(p, stream);
  } else {
    launch_backward_bf16<128>(p, stream);
  }
}

}  // namespace trireme::cuda
