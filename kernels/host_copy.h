// What lies on a device, for the host to read.
#pragma once

#include <type_traits>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// The elements of x, in row-major order, after the work that the stream has been given: waits for it.  Those
// of bfloat16 may be asked for as floats.
template <typename T>
std::vector<T> host_copy(Tensor x, Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (x.dtype() == DType::kBfloat16) {
      const std::vector<Bfloat16> narrow = host_copy<Bfloat16>(x, stream);
      return std::vector<float>(narrow.begin(), narrow.end());
    }
  }
  std::vector<T> values(static_cast<std::size_t>(x.num_elements()));
  if (values.empty()) return values;
  copy({values.data(), kDTypeOf<T>, x.shape()}, x, stream);
  stream.synchronize();
  return values;
}

}  // namespace trireme
