#include "kernels/attention.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(attention_forward)
TRIREME_DECLARE_CPU(attention_backward)

namespace {

void check_attention(const OperandCheck& check, Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD,
                     Tensor v_BSKD, const AttentionOptions& options) {
  check.num_dims("q", q_BTHD, 4);
  check.num_dims("k", k_BSKD, 4);
  const std::int64_t b = q_BTHD.dim(0);
  const std::int64_t t = q_BTHD.dim(1);
  const std::int64_t h = q_BTHD.dim(2);
  const std::int64_t d = q_BTHD.dim(3);
  const Shape keys = {b, k_BSKD.dim(1), k_BSKD.dim(2), d};
  check.operand("q", q_BTHD, q_BTHD.shape(), Layout::kStrided);
  check.operand("k", k_BSKD, keys, Layout::kStrided);
  check.operand("v", v_BSKD, keys, Layout::kStrided);
  check.operand("out", out_BTHD, q_BTHD.shape(), Layout::kStrided);
  check.optional("lse", lse_BHT, {b, h, t});
  check.dropout(options.dropout);
  CHECK(keys[2] > 0 && h % keys[2] == 0) << "attention: " << h << " heads share " << keys[2];
  CHECK_GT(keys[1], 0) << "attention: no keys";
  CHECK_GT(d, 0) << "attention: heads without width";
  CHECK_GT(options.scale, 0.0F) << "attention: scale";
  CHECK(!options.causal || t <= keys[1]) << "attention: " << t << " queries, " << keys[1] << " keys, causal";
}

}  // namespace

void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream stream) {
  check_attention(OperandCheck("attention_forward"), out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options);
  TRIREME_CPU(attention_forward)(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
}

void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream stream) {
  const OperandCheck check("attention_backward");
  check_attention(check, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options);
  CHECK(lse_BHT) << "attention_backward: lse is absent";
  check.operand("dout", dout_BTHD, q_BTHD.shape(), Layout::kStrided);
  check.operand("dq", dq_BTHD, q_BTHD.shape(), Layout::kStrided);
  check.operand("dk", dk_BSKD, k_BSKD.shape(), Layout::kStrided);
  check.operand("dv", dv_BSKD, k_BSKD.shape(), Layout::kStrided);
  TRIREME_CPU(attention_backward)
  (dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
}

}  // namespace trireme
