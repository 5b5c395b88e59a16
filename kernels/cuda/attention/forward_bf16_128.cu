#include "kernels/cuda/attention/forward_bf16.cuh"

namespace trireme::cuda {

template void launch_forward_bf16<128>(const AttentionParameters<Bfloat16>&, StreamState&);

}  // namespace trireme::cuda
