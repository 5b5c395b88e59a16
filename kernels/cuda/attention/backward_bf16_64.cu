#include "kernels/cuda/attention/backward_bf16.cuh"

namespace trireme::cuda {

template void launch_backward_bf16<64>(const AttentionParameters<Bfloat16>& p, StreamState& stream);

}  // namespace trireme::cuda
