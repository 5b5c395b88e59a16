// Softmax cross-entropy.
#pragma once

#include "tests/reference/array.h"

namespace trireme::reference {

struct CrossEntropy {
  Array lse, target_logit, smoothed_logit;
};
CrossEntropy cross_entropy(const Array& logits, const Tokens& targets, double label_smoothing,
                           std::int64_t v);

Array cross_entropy_backward(const Array& logits, const Array& lse, const Tokens& targets,
                             double label_smoothing, double scale, std::int64_t v);

}  // namespace trireme::reference
