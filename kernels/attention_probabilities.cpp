#include "kernels/attention_probabilities.h"

#include "kernels/attention_check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(attention_probabilities)
TRIREME_DECLARE_CPU(attention_entropy)

void attention_probabilities(Tensor p_BHTS, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                             Stream stream) {
  const OperandCheck check("attention_probabilities");
  check_scores(check, q_BTHD, k_BSKD, options, {});
  check.operand("p", p_BHTS, {q_BTHD.dim(0), q_BTHD.dim(2), q_BTHD.dim(1), k_BSKD.dim(1)});
  TRIREME_CPU(attention_probabilities)(p_BHTS, q_BTHD, k_BSKD, options, stream);
}

void attention_entropy(Tensor entropy_BHT, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                       Stream stream) {
  const OperandCheck check("attention_entropy");
  check_scores(check, q_BTHD, k_BSKD, options, {});
  check.operand("entropy", entropy_BHT, {q_BTHD.dim(0), q_BTHD.dim(2), q_BTHD.dim(1)});
  TRIREME_CPU(attention_entropy)(entropy_BHT, q_BTHD, k_BSKD, options, stream);
}

}  // namespace trireme
