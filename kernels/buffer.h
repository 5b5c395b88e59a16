// Owned device memory.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/tensor.h"

namespace trireme {

// One allocation, freed with the object.  Contents are uninitialised unless `zero()` is called.  On the CPU
// it is aligned to 64 bytes, or, when large, to 2 MiB and backed by huge pages where the kernel grants them:
// the first touch of 4 KiB pages is what large models otherwise spend their start on.  Allocation failure is
// the machine's error: fatal, naming the size asked for.
//
// On a CUDA device, work given to streams must be done with the memory before the buffer ends.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size_bytes, Device device = {});
  // Memory of the CPU that `peer` copies to and from while the host goes on (page-locked for CUDA devices).
  static Buffer pinned_for(Device peer, std::int64_t size_bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::int64_t size_bytes() const { return size_bytes_; }
  Device device() const { return device_; }
  void* data() const { return data_; }
  // Sets all bytes to 0, and returns when that is done.
  void zero();

  // A tensor over the bytes from `offset_bytes` on.  REQUIRES: it lies inside the buffer.
  Tensor tensor(DType dtype, Shape shape, std::int64_t offset_bytes = 0) const;

 private:
  void release();

  void* data_ = nullptr;
  std::int64_t size_bytes_ = 0;
  Device device_;
  bool is_pinned_ = false;
};

}  // namespace trireme
