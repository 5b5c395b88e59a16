#include "kernels/attention_check.h"

#include <glog/logging.h>

namespace trireme {
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

}  // namespace

DType check_scores(const OperandCheck& check, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                   Device device) {
  check.num_dims("q", q_BTHD, 4);
  check.num_dims("k", k_BSKD, 4);
  const std::int64_t b = q_BTHD.dim(0);
  const std::int64_t t = q_BTHD.dim(1);
  const std::int64_t h = q_BTHD.dim(2);
  const std::int64_t d = q_BTHD.dim(3);
  const std::int64_t s = k_BSKD.dim(1);
  const std::int64_t key_heads = k_BSKD.dim(2);
  const DType dtype = q_BTHD.dtype();
  CHECK(dtype == DType::kFloat32 || (dtype == DType::kBfloat16 && !device.is_cpu()))
      << "attention of " << name(dtype) << " on " << device.to_string();
  check.operand("q", q_BTHD, q_BTHD.shape(), Layout::kStrided, dtype);
  check.operand("k", k_BSKD, {b, s, key_heads, d}, Layout::kStrided, dtype);
  check.optional("alibi_slopes", options.alibi_slopes_H, {h});
  check.optional("query_documents", options.query_documents_BT, {b, t}, Layout::kContiguous, DType::kInt32);
  check.optional("key_documents", options.key_documents_BS, {b, s}, Layout::kContiguous, DType::kInt32);
  CHECK_EQ(static_cast<bool>(options.query_documents_BT), static_cast<bool>(options.key_documents_BS))
      << "attention: documents of queries or keys, not of both";
  check_documents("query_documents", options.query_documents_BT);
  check_documents("key_documents", options.key_documents_BS);
  check.dropout(options.dropout);
  CHECK(options.first_head >= 0 && options.first_head + h <= mask_heads(options, h))
      << "attention: masks of heads [" << options.first_head << ", " << options.first_head + h << ") of "
      << mask_heads(options, h);
  CHECK(key_heads > 0 && h % key_heads == 0) << "attention: " << h << " heads share " << key_heads;
  CHECK_GT(s, 0) << "attention: no keys";
  CHECK_GT(d, 0) << "attention: heads without width";
  CHECK(device.is_cpu() || d <= kMaxCudaWidth) << "attention on " << device.to_string() << ": heads of width "
                                               << d << ", " << kMaxCudaWidth << " at most";
  CHECK_GT(options.scale, 0.0F) << "attention: scale";
  CHECK_GE(options.window, 0) << "attention: window";
  CHECK(!options.causal || t <= s) << "attention: " << t << " queries, " << s << " keys, causal";
  return dtype;
}

}  // namespace trireme
