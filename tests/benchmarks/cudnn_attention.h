// cuDNN's attention, to measure ours against.
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor.h"

namespace trireme {

struct CudnnOperands {
  Tensor out_BTHD, lse_BHT, q_BTHD, k_BTHD, v_BTHD;  // bfloat16, lse float32
  Tensor dq_BTHD, dk_BTHD, dv_BTHD, dout_BTHD;
};

// Forward and backward for fixed operands.  Work goes to CUDA's stream `stream` (a cudaStream_t).
class CudnnAttention {
 public:
  // Null, and the reason in `why_not`, where cuDNN has no plan for them, or there is no cuDNN.
  static std::unique_ptr<CudnnAttention> make(const CudnnOperands& operands, bool causal, float scale,
                                              void* stream, std::string* why_not);
  virtual ~CudnnAttention() = default;
  virtual void forward() = 0;
  virtual void backward() = 0;
};

}  // namespace trireme
