#include <glog/logging.h>

#include "kernels/cuda/attention/launch.h"

namespace trireme::cuda {

void launch_attention_backward(const AttentionParameters<Bfloat16>&, StreamState&) {
  LOG(FATAL) << "not yet";
}

}  // namespace trireme::cuda
