#include "tests/reference/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy.h"

namespace trireme::reference {

namespace {

// The target's distribution at token i.
double target_probability(std::int32_t target, std::int64_t i, double label_smoothing, std::int64_t v) {
  return (i == target ? 1.0 - label_smoothing : 0.0) + label_smoothing / static_cast<double>(v);
}

}  // namespace

CrossEntropy cross_entropy(const Array& logits, const Tokens& targets, double label_smoothing,
                           std::int64_t v) {
  const std::int64_t n = std::ssize(targets);
  CrossEntropy result{zeros(n), zeros(n), zeros(n)};
  for (std::int64_t row = 0; row < n; ++row) {
    const std::int32_t target = targets[static_cast<std::size_t>(row)];
    if (target == kIgnoredTarget) continue;
    const auto begin = logits.begin() + row * v;
    const double largest = *std::max_element(begin, begin + v);
    double sum = 0.0;
    for (std::int64_t i = 0; i < v; ++i) sum += std::exp(at(logits, row * v + i) - largest);
    at(result.lse, row) = largest + std::log(sum);
    at(result.target_logit, row) = at(logits, row * v + target);
    for (std::int64_t i = 0; i < v; ++i) {
      const double probability = target_probability(target, i, label_smoothing, v);
      if (probability > 0.0) at(result.smoothed_logit, row) += probability * at(logits, row * v + i);
    }
  }
  return result;
}

Array cross_entropy_backward(const Array& logits, const Array& lse, const Tokens& targets,
                             double label_smoothing, double scale, std::int64_t v) {
  Array dlogits = zeros(std::ssize(logits));
  for (std::int64_t i = 0; i < std::ssize(logits); ++i) {
    const std::int32_t target = targets[static_cast<std::size_t>(i / v)];
    if (target == kIgnoredTarget) continue;
    at(dlogits, i) = scale * (std::exp(at(logits, i) - at(lse, i / v)) -
                              target_probability(target, i % v, label_smoothing, v));
  }
  return dlogits;
}

}  // namespace trireme::reference
