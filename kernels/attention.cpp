#include "kernels/attention.h"

#include <glog/logging.h>

#include "kernels/attention_check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(attention_forward)
TRIREME_DECLARE(attention_backward)

namespace {

// Checks what forward and backward have in common, and all options.  Gives the type of the numbers.
DType check_attention(const OperandCheck& check, Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD,
                      Tensor k_BSKD, Tensor v_BSKD, const AttentionOptions& options, Device device) {
  const DType dtype = check_scores(check, q_BTHD, k_BSKD, options, device);
  check.operand("v", v_BSKD, k_BSKD.shape(), Layout::kStrided, dtype);
  check.operand("out", out_BTHD, q_BTHD.shape(), Layout::kStrided, dtype);
  check.optional("lse", lse_BHT, {q_BTHD.dim(0), q_BTHD.dim(2), q_BTHD.dim(1)});
  return dtype;
}

}  // namespace

bool has_cudnn() {
  return TRIREME_HAS_CUDNN;
}

void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream stream) {
  const OperandCheck check("attention_forward", stream.device());
  check_attention(check, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream.device());
  TRIREME_RUN(attention_forward, stream)(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
}

void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream stream) {
  const OperandCheck check("attention_backward", stream.device());
  const DType dtype =
      check_attention(check, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream.device());
  CHECK(lse_BHT) << "attention_backward: lse is absent";
  check.operand("dout", dout_BTHD, q_BTHD.shape(), Layout::kStrided, dtype);
  check.operand("dq", dq_BTHD, q_BTHD.shape(), Layout::kStrided, dtype);
  check.operand("dk", dk_BSKD, k_BSKD.shape(), Layout::kStrided, dtype);
  check.operand("dv", dv_BSKD, k_BSKD.shape(), Layout::kStrided, dtype);
  TRIREME_RUN(attention_backward, stream)
  (dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
}

}  // namespace trireme
