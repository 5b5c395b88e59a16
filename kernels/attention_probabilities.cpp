#include "kernels/attention_probabilities.h"

#include "kernels/attention_check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(attention_probabilities)
TRIREME_DECLARE(attention_entropy)

void attention_probabilities(Tensor p_BHTS, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                             Stream stream) {
  const OperandCheck check("attention_probabilities", stream.device());
  check_scores(check, q_BTHD, k_BSKD, options, stream.device());
  check.operand("p", p_BHTS, {q_BTHD.dim(0), q_BTHD.dim(2), q_BTHD.dim(1), k_BSKD.dim(1)});
  TRIREME_RUN(attention_probabilities, stream)(p_BHTS, q_BTHD, k_BSKD, options, stream);
}

void attention_entropy(Tensor entropy_BHT, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                       Stream stream) {
  const OperandCheck check("attention_entropy", stream.device());
  check_scores(check, q_BTHD, k_BSKD, options, stream.device());
  check.operand("entropy", entropy_BHT, {q_BTHD.dim(0), q_BTHD.dim(2), q_BTHD.dim(1)});
  TRIREME_RUN(attention_entropy, stream)(entropy_BHT, q_BTHD, k_BSKD, options, stream);
}

}  // namespace trireme
