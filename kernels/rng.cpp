#include "kernels/rng.h"

#include <cmath>
#include <numbers>

namespace trireme {

std::array<float, 4> normals(std::uint64_t key, std::uint64_t block) {
  const auto bits = philox(key, block);
  std::array<float, 4> result{};
  for (std::size_t i = 0; i < 4; i += 2) {
    // 1 - uniform lies in (0, 1], so the logarithm is finite.
    const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(uniform(bits[i]))));
    const double angle = 2.0 * std::numbers::pi * static_cast<double>(uniform(bits[i + 1]));
    result[i] = static_cast<float>(radius * std::cos(angle));
    result[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return result;
}

}  // namespace trireme
