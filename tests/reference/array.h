// What the reference ops compute with.  Arrays are row-major and know no shape: sizes are arguments.
#pragma once

#include <cstdint>
#include <vector>

namespace trireme::reference {

using Array = std::vector<double>;
using Tokens = std::vector<std::int32_t>;

inline Array zeros(std::int64_t count) {
  return Array(static_cast<std::size_t>(count), 0.0);
}

// Element i, so that loops need no casts.
inline double& at(Array& x, std::int64_t i) {
  return x.at(static_cast<std::size_t>(i));
}
inline double at(const Array& x, std::int64_t i) {
  return x.at(static_cast<std::size_t>(i));
}

}  // namespace trireme::reference
