#include "kernels/attention.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(attention_forward)
TRIREME_DECLARE(attention_backward)

namespace {

constexpr std::int64_t kMaxCudaWidth = 128;

// On the CPU, which looks at the numbers.
void check_documents(const char* operand, Tensor documents_BT) {
  if (!documents_BT || !documents_BT.device().is_cpu()) return;
  const std::int32_t* row = documents_BT.data<std::int32_t>();
  for (std::int64_t b = 0; b < documents_BT.dim(0); ++b, row += documents_BT.dim(1)) {
    for (std::int64_t t = 1; t < documents_BT.dim(1); ++t) {
      CHECK_LE(row[t - 1], row[t]) << "attention: " << operand << " falls at " << t << " of sequence " << b;
    }
  }
}

// Checks what forward and backward have in common, and all options.  Gives the type of the numbers.
DType check_attention(const OperandCheck& check, Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD,
                      Tensor k_BSKD, Tensor v_BSKD, const AttentionOptions& options, Device device) {
  check.num_dims("q", q_BTHD, 4);
  check.num_dims("k", k_BSKD, 4);
  const std::int64_t b = q_BTHD.dim(0);
  const std::int64_t t = q_BTHD.dim(1);
  const std::int64_t h = q_BTHD.dim(2);
  const std::int64_t d = q_BTHD.dim(3);
  const std::int64_t s = k_BSKD.dim(1);
  const Shape keys = {b, s, k_BSKD.dim(2), d};
  const DType dtype = q_BTHD.dtype();
  CHECK(dtype == DType::kFloat32 || (dtype == DType::kBfloat16 && !device.is_cpu()))
      << "attention of " << name(dtype) << " on " << device.to_string();
  check.operand("q", q_BTHD, q_BTHD.shape(), Layout::kStrided, dtype);
  check.operand("k", k_BSKD, keys, Layout::kStrided, dtype);
  check.operand("v", v_BSKD, keys, Layout::kStrided, dtype);
  check.operand("out", out_BTHD, q_BTHD.shape(), Layout::kStrided, dtype);
  check.optional("lse", lse_BHT, {b, h, t});
  check.optional("alibi_slopes", options.alibi_slopes_H, {h});
  check.optional("query_documents", options.query_documents_BT, {b, t}, Layout::kContiguous, DType::kInt32);
  check.optional("key_documents", options.key_documents_BS, {b, s}, Layout::kContiguous, DType::kInt32);
  CHECK_EQ(static_cast<bool>(options.query_documents_BT), static_cast<bool>(options.key_documents_BS))
      << "attention: documents of queries or keys, not of both";
  check_documents("query_documents", options.query_documents_BT);
  check_documents("key_documents", options.key_documents_BS);
  check.dropout(options.dropout);
  CHECK(keys[2] > 0 && h % keys[2] == 0) << "attention: " << h << " heads share " << keys[2];
  CHECK_GT(s, 0) << "attention: no keys";
  CHECK_GT(d, 0) << "attention: heads without width";
  CHECK(device.is_cpu() || d <= kMaxCudaWidth) << "attention on " << device.to_string() << ": heads of width "
                                               << d << ", " << kMaxCudaWidth << " at most";
  CHECK_GT(options.scale, 0.0F) << "attention: scale";
  CHECK_GE(options.window, 0) << "attention: window";
  CHECK(!options.causal || t <= s) << "attention: " << t << " queries, " << s << " keys, causal";
  return dtype;
}

}  // namespace

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
