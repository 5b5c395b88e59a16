#include "tests/reference/activation.h"

#include <cmath>
#include <numbers>

#include "tests/reference/linear.h"

namespace trireme::reference {
namespace {

double normal_cumulative(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}
double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

}  // namespace

double activation(Activation kind, double x) {
  switch (kind) {
    case Activation::kGeluTanh:
      return gelu_tanh(x);
    case Activation::kGelu:
      return x * normal_cumulative(x);
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kSilu:
      return x * sigmoid(x);
  }
  return 0.0;
}

double activation_derivative(Activation kind, double x) {
  switch (kind) {
    case Activation::kGeluTanh:
      return gelu_tanh_derivative(x);
    case Activation::kGelu:
      return normal_cumulative(x) + x * std::exp(-x * x / 2.0) / std::sqrt(2.0 * std::numbers::pi);
    case Activation::kRelu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::kSilu:
      return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
  }
  return 0.0;
}

}  // namespace trireme::reference
