#include "kernels/cuda/attention/forward_fp32.cuh"

namespace trireme::cuda {

template void launch_attention_forward_fp32<32>(const AttentionParameters<float>&, const StreamState&);

}  // namespace trireme::cuda
