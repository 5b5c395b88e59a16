#include "kernels/sampling.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"
#include "kernels/top_k.h"

namespace trireme {

TRIREME_DECLARE(sample_tokens)

void sample_tokens(Tensor tokens_N, Tensor logits_NV, const SamplingOptions& options, std::uint64_t draw,
                   Stream stream) {
  const OperandCheck check("sample_tokens", stream.device());
  check.num_dims("logits", logits_NV, 2);
  check.operand("logits", logits_NV, logits_NV.shape(), Layout::kStrided,
                check.type_of_numbers("logits", logits_NV));
  check.operand("tokens", tokens_N, {logits_NV.dim(0)}, Layout::kContiguous, DType::kInt32);
  const std::int64_t v = options.vocabulary > 0 ? options.vocabulary : logits_NV.dim(1);
  CHECK(1 <= v && v <= logits_NV.dim(1) && v <= kMaxOrderedVocabulary)
      << "sample_tokens: " << v << " of " << logits_NV.dim(1) << " tokens";
  TRIREME_RUN(sample_tokens, stream)(tokens_N, logits_NV.slice(1, 0, v), options, draw, stream);
}

}  // namespace trireme
