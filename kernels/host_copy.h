// What lies on a device, for the host to read.
#pragma once

#include <vector>

#include "kernels/elementwise.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// The elements of x, in row-major order, after the work that the stream has been given: waits for it.
template <typename T>
std::vector<T> host_copy(Tensor x, Stream stream) {
  std::vector<T> values(static_cast<std::size_t>(x.num_elements()));
  if (values.empty()) return values;
  copy({values.data(), kDTypeOf<T>, x.shape()}, x, stream);
  stream.synchronize();
  return values;
}

}  // namespace trireme
