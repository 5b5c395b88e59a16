// What ranks contribute to collectives, in the memory of their devices.
#pragma once

#include <vector>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "tests/parallel/collective_values.h"

namespace trireme {

// A vector on a device; with memory even if it is empty.
template <typename T>
class OnDevice {
 public:
  OnDevice(const std::vector<T>& values, Stream stream)
      : stream_(stream),
        values_(values),
        buffer_(static_cast<std::int64_t>(sizeof(T)) * (std::ssize(values) + 1), stream.device()) {
    if (!values_.empty()) copy(tensor(), trireme::tensor(values_), stream);
  }
  ~OnDevice() { stream_.synchronize(); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  Tensor tensor() const { return buffer_.tensor(kDTypeOf<T>, {std::ssize(values_)}); }
  // Once the stream's work is done.
  std::vector<T> values() {
    if (!values_.empty()) copy(trireme::tensor(values_), tensor(), stream_);
    stream_.synchronize();
    return values_;
  }

 private:
  Stream stream_;
  std::vector<T> values_;
  Buffer buffer_;
};

}  // namespace trireme
