#include "kernels/top_k.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(top_k)
TRIREME_DECLARE(count_hits)

namespace {

void check_logits(const OperandCheck& check, Tensor logits_NV) {
  check.num_dims("logits", logits_NV, 2);
  check.operand("logits", logits_NV, logits_NV.shape(), Layout::kStrided,
                check.type_of_numbers("logits", logits_NV));
}

}  // namespace

void top_k(Tensor values_NK, Tensor tokens_NK, Tensor logits_NV, Stream stream) {
  const OperandCheck check("top_k", stream.device());
  check_logits(check, logits_NV);
  check.num_dims("values", values_NK, 2);
  const std::int64_t k = values_NK.dim(1);
  CHECK(1 <= k && k <= logits_NV.dim(1) && logits_NV.dim(1) <= kMaxOrderedVocabulary)
      << "top_k: " << k << " of " << logits_NV.dim(1) << " tokens";
  check.operand("values", values_NK, {logits_NV.dim(0), k});
  check.operand("tokens", tokens_NK, values_NK.shape(), Layout::kContiguous, DType::kInt32);
  TRIREME_RUN(top_k, stream)(values_NK, tokens_NK, logits_NV, stream);
}

void count_hits(Tensor hits_1, Tensor logits_NV, Tensor targets_N, Stream stream) {
  const OperandCheck check("count_hits", stream.device());
  check_logits(check, logits_NV);
  check.operand("hits", hits_1, {1}, Layout::kContiguous, DType::kInt32);
  check.operand("targets", targets_N, {logits_NV.dim(0)}, Layout::kContiguous, DType::kInt32);
  TRIREME_RUN(count_hits, stream)(hits_1, logits_NV, targets_N, stream);
}

}  // namespace trireme
