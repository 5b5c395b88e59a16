#include "kernels/rng.h"

#include <cmath>
#include <numbers>

namespace trireme {

float normal(std::uint64_t key, std::uint64_t n) {
  const auto bits = philox(key, n);
  // 1 - uniform lies in (0, 1], so the logarithm is finite.
  const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(uniform(bits[0]))));
  const double angle = 2.0 * std::numbers::pi * static_cast<double>(uniform(bits[1]));
  return static_cast<float>(radius * std::cos(angle));
}

}  // namespace trireme
