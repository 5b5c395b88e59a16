// Memory that can be given back in pieces.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/buffer.h"
#include "kernels/device.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

namespace cuda {
class PagedMemory;
}

// How finely memory comes and goes: large pages are faster to touch for the first time, small ones take no
// more than what is used.
enum class Pages { kLarge, kSmall };

// What memory holds that has just come.
enum class Contents { kZeros, kUndefined };

// Address space of a fixed size that has memory only where it is used; addresses, and so tensors, stay.  That
// lets whoever uses only a part of a flat vector at a time keep the vector's layout.
//
// On the CPU memory comes where it is first written to; what isn't there reads as zeros.  On a CUDA device
// small pages come by acquire() and may be touched only until release(); large ones are all there from the
// start, zero, and stay.  Both calls work in the order of a stream and don't wait: what one use of the stream
// has released the next one can acquire, even while the device is far behind the host.  They wait only if the
// same bytes are acquired again while their memory serves elsewhere and the first use isn't over; and where
// no stream is given.  Released memory stays with the process for the next acquire(), until trim().
//
// Buffers of one device belong to one thread.  Work given to streams must be done before they end.
class PagedBuffer {
 public:
  // A small page of the device.
  static std::int64_t page_bytes(Device device);

  PagedBuffer() = default;
  // Running out of address space is the machine's error: fatal.
  explicit PagedBuffer(std::int64_t size_bytes, Pages pages, Device device = {});
  ~PagedBuffer();
  PagedBuffer(PagedBuffer&& other) noexcept;
  PagedBuffer& operator=(PagedBuffer&& other) noexcept;

  std::int64_t size_bytes() const { return size_bytes_; }

  // Work given to `stream` from here on may use bytes [begin, end), and all of the pages they lie in.  Pages
  // that are there already stay as they are; others hold `contents`.  Running out of memory is fatal.
  void acquire(std::int64_t begin, std::int64_t end, Contents contents, Stream stream = {});
  // Gives back bytes [begin, end) after the work given to `stream`, which comes after all use of them;
  // without a stream, after all work of the device.  REQUIRES: multiples of page_bytes(); small pages, on a
  // CUDA device.
  void release(std::int64_t begin, std::int64_t end, Stream stream = {});
  // What is in memory at this moment: on the CPU as the kernel counts it, on a CUDA device what is acquired.
  std::int64_t resident_bytes() const;

  // Memory of the device that has been released by buffers and not yet acquired again.
  static std::int64_t pooled_bytes(Device device);
  // Gives to the device what no acquire() has needed since the last call, so once in each round of work.
  static void trim(Device device);

  // REQUIRES: it lies inside the buffer.
  Tensor tensor(DType dtype, Shape shape, std::int64_t offset_bytes = 0) const;

 private:
  struct DeleteCuda {
    void operator()(cuda::PagedMemory* memory) const;
  };

  void unmap();

  void* data_ = nullptr;  // mapped, of the CPU
  std::int64_t size_bytes_ = 0;
  Buffer large_on_device_;
  std::unique_ptr<cuda::PagedMemory, DeleteCuda> small_on_device_;
};

}  // namespace trireme
