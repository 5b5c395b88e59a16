// Memory that can be given back in pieces, and comes again as zeros.
#pragma once

#include <cstdint>

#include "kernels/buffer.h"
#include "kernels/device.h"
#include "kernels/tensor.h"

namespace trireme {

// How finely memory comes and goes: large pages are faster to touch for the first time, small ones take no
// more than what is used.
enum class Pages { kLarge, kSmall };

// Address space of a fixed size, all zeros, that takes memory where it is first written to.  What is released
// costs nothing until it is written again, and reads as zeros; addresses, and so tensors, stay.  That lets
// whoever uses only a part of a flat vector at a time keep the vector's layout.
//
// On a CUDA device all of it is taken at once and release() sets to zero, for now: cuMemAddressReserve and
// cuMemMap would do there what mmap and madvise do here.
class PagedBuffer {
 public:
  static constexpr std::int64_t kPageBytes = 4096;

  PagedBuffer() = default;
  // Running out of address space is the machine's error: fatal.
  explicit PagedBuffer(std::int64_t size_bytes, Pages pages, Device device = {});
  ~PagedBuffer();
  PagedBuffer(PagedBuffer&& other) noexcept;
  PagedBuffer& operator=(PagedBuffer&& other) noexcept;

  std::int64_t size_bytes() const { return size_bytes_; }
  // Gives back bytes [begin, end), which are zero from here on.  REQUIRES: multiples of kPageBytes, on the
  // CPU; nobody else uses them.
  void release(std::int64_t begin, std::int64_t end);
  // What is in memory at this moment, as the kernel counts it.
  std::int64_t resident_bytes() const;

  // REQUIRES: it lies inside the buffer.
  Tensor tensor(DType dtype, Shape shape, std::int64_t offset_bytes = 0) const;

 private:
  void unmap();

  void* data_ = nullptr;  // mapped; null on a CUDA device
  std::int64_t size_bytes_ = 0;
  Buffer on_device_;
};

}  // namespace trireme
