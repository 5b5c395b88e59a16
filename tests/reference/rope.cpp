#include "tests/reference/rope.h"

#include <complex>

namespace trireme::reference {

Array rope(const Array& x, const Tokens& positions, const Array& frequencies, double amplitude,
           double direction, std::int64_t h) {
  const std::int64_t half = std::ssize(frequencies);
  Array y = zeros(std::ssize(x));
  for (std::int64_t i = 0; i < std::ssize(positions) * h; ++i) {
    const double position = positions[static_cast<std::size_t>(i / h)];
    for (std::int64_t r = 0; r < half; ++r) {
      const std::int64_t first = i * 2 * half + r;
      const std::complex<double> rotated = std::complex<double>(at(x, first), at(x, first + half)) *
                                           std::polar(amplitude, direction * position * at(frequencies, r));
      at(y, first) = rotated.real();
      at(y, first + half) = rotated.imag();
    }
  }
  return y;
}

}  // namespace trireme::reference
