#include "tests/reference/dropout.h"

#include "kernels/rng.h"

namespace trireme::reference {

double dropout_factor(const Dropout& dropout, std::int64_t index) {
  if (!dropout) return 1.0;
  const std::uint64_t n = dropout.offset + static_cast<std::uint64_t>(index);
  const std::uint32_t bits = philox(dropout.key, n / 4)[n % 4];
  return uniform(bits) < dropout.probability ? 0.0 : 1.0 / (1.0 - static_cast<double>(dropout.probability));
}

Array dropout(const Array& x, const Dropout& dropout) {
  Array y = x;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= dropout_factor(dropout, static_cast<std::int64_t>(i));
  return y;
}

}  // namespace trireme::reference
