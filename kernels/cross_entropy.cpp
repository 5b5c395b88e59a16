#include "kernels/cross_entropy.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(cross_entropy_forward)
TRIREME_DECLARE(cross_entropy_combine)
TRIREME_DECLARE(cross_entropy_backward)

namespace {

void check_logits(const OperandCheck& check, Tensor logits_NV, Tensor lse_N, Tensor targets_N,
                  float label_smoothing, VocabularyPart part) {
  check.num_dims("logits", logits_NV, 2);
  const std::int64_t n = logits_NV.dim(0);
  check.operand("logits", logits_NV, logits_NV.shape(), Layout::kStrided,
                check.type_of_numbers("logits", logits_NV));
  check.operand("lse", lse_N, {n});
  check.operand("targets", targets_N, {n}, Layout::kContiguous, DType::kInt32);
  CHECK(0.0F <= label_smoothing && label_smoothing < 1.0F)
      << "cross_entropy: label smoothing " << label_smoothing;
  const std::int64_t v = part.whole > 0 ? part.whole : logits_NV.dim(1);
  CHECK(0 <= part.first && part.first + logits_NV.dim(1) <= v)
      << "cross_entropy: tokens [" << part.first << ", " << part.first + logits_NV.dim(1)
      << ") of a vocabulary of " << v;
  if (!targets_N.device().is_cpu()) return;
  const std::int32_t* const targets = targets_N.data<std::int32_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    CHECK(targets[i] == kIgnoredTarget || (0 <= targets[i] && targets[i] < v))
        << "cross_entropy: target " << targets[i] << " at " << i << ", of a vocabulary of " << v;
  }
}

}  // namespace

void cross_entropy_forward(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor logits_NV,
                           Tensor targets_N, float label_smoothing, Stream stream, VocabularyPart part) {
  const OperandCheck check("cross_entropy_forward", stream.device());
  check_logits(check, logits_NV, lse_N, targets_N, label_smoothing, part);
  check.operand("target_logit", target_logit_N, lse_N.shape());
  check.optional("smoothed_logit", smoothed_logit_N, lse_N.shape());
  TRIREME_RUN(cross_entropy_forward, stream)
  (lse_N, target_logit_N, smoothed_logit_N, logits_NV, targets_N, label_smoothing, stream, part);
}

void cross_entropy_combine(Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N, Tensor parts_R3N,
                           Tensor targets_N, Stream stream) {
  const OperandCheck check("cross_entropy_combine", stream.device());
  check.num_dims("parts", parts_R3N, 3);
  const std::int64_t n = parts_R3N.dim(2);
  check.operand("parts", parts_R3N, {parts_R3N.dim(0), 3, n});
  check.operand("lse", lse_N, {n});
  check.operand("target_logit", target_logit_N, {n});
  check.operand("smoothed_logit", smoothed_logit_N, {n});
  check.operand("targets", targets_N, {n}, Layout::kContiguous, DType::kInt32);
  TRIREME_RUN(cross_entropy_combine, stream)
  (lse_N, target_logit_N, smoothed_logit_N, parts_R3N, targets_N, stream);
}

void cross_entropy_backward(Tensor dlogits_NV, Tensor logits_NV, Tensor lse_N, Tensor targets_N,
                            float label_smoothing, float scale, Stream stream, VocabularyPart part) {
  const OperandCheck check("cross_entropy_backward", stream.device());
  check_logits(check, logits_NV, lse_N, targets_N, label_smoothing, part);
  check.operand("dlogits", dlogits_NV, logits_NV.shape(), Layout::kStrided, logits_NV.dtype());
  TRIREME_RUN(cross_entropy_backward, stream)
  (dlogits_NV, logits_NV, lse_N, targets_N, label_smoothing, scale, stream, part);
}

}  // namespace trireme
