#include "kernels/cuda/attention/forward_fp32.cuh"

namespace trireme::cuda {

template void launch_attention_forward_fp32<128>(const AttentionParameters<float>&, const StreamState&);

}  // namespace trireme::cuda
