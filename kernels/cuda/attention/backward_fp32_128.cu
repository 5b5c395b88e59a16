#include "kernels/cuda/attention/backward_fp32.cuh"

namespace trireme::cuda {

template void launch_attention_backward_fp32<128>(const AttentionParameters<float>&, const float*,
                                                  const StreamState&);

}  // namespace trireme::cuda
