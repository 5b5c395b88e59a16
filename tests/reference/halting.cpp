#include "tests/reference/halting.h"

#include <cmath>

namespace trireme::reference {
namespace {

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

}  // namespace

Halting halting(const std::vector<Array>& made, const std::vector<Array>& logits, double threshold,
                std::int64_t n, std::int64_t c) {
  Halting result{.mean = zeros(n * c), .remainder = zeros(n), .loops = Tokens(static_cast<std::size_t>(n))};
  for (std::size_t loop = 0; loop < made.size(); ++loop) {
    result.states.push_back(made[loop]);
    result.weights.push_back(zeros(n));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    double before = 0.0;
    std::size_t last = 0;
    while (last + 1 < made.size() && before + sigmoid(at(logits[last], i)) <= threshold)
      before += sigmoid(at(logits[last++], i));
    at(result.remainder, i) = 1.0 - before;
    result.loops[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(last + 1);
    for (std::size_t loop = 0; loop < made.size(); ++loop) {
      if (loop <= last)
        at(result.weights[loop], i) = loop < last ? sigmoid(at(logits[loop], i)) : 1.0 - before;
      for (std::int64_t j = i * c; j < (i + 1) * c; ++j) {
        at(result.states[loop], j) = at(made[loop < last ? loop : last], j);
        at(result.mean, j) += at(result.weights[loop], i) * at(made[loop], j);
      }
    }
  }
  return result;
}

HaltingGradients halting_backward(const Array& dmean, const Array& dremainder,
                                  const std::vector<Array>& dstates, const std::vector<Array>& made,
                                  const std::vector<Array>& logits, double threshold, std::int64_t n,
                                  std::int64_t c) {
  const Halting forward = halting(made, logits, threshold, n, c);
  HaltingGradients result;
  for (std::size_t loop = 0; loop < made.size(); ++loop) {
    result.dmade.push_back(zeros(n * c));
    result.dlogits.push_back(zeros(n));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto last = static_cast<std::size_t>(forward.loops[static_cast<std::size_t>(i)] - 1);
    for (std::size_t loop = 0; loop < made.size(); ++loop) {
      // Of its own state, and of all copies of the last one.
      for (std::int64_t j = i * c; j < (i + 1) * c; ++j) {
        at(result.dmade[loop < last ? loop : last], j) += at(dstates[loop], j);
        at(result.dmade[loop], j) += at(forward.weights[loop], i) * at(dmean, j);
      }
    }
    const auto dweight = [&](std::size_t loop) {
      double sum = 0.0;
      for (std::int64_t j = i * c; j < (i + 1) * c; ++j) sum += at(dmean, j) * at(made[loop], j);
      return sum;
    };
    for (std::size_t loop = 0; loop < last; ++loop) {
      const double p = sigmoid(at(logits[loop], i));
      at(result.dlogits[loop], i) = (dweight(loop) - dweight(last) - at(dremainder, i)) * p * (1.0 - p);
    }
  }
  return result;
}

}  // namespace trireme::reference
