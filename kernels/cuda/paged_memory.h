// Addresses of a CUDA device that have memory only where and while somebody uses it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/chunk_pool.h"
#include "kernels/device.h"
#include "kernels/stream.h"

namespace trireme::cuda {

// What PagedBuffer is on a CUDA device; there is said what it does.
class PagedMemory {
 public:
  PagedMemory(std::int64_t size_bytes, Device device);
  // REQUIRES: work that uses it is done.
  ~PagedMemory();
  PagedMemory(const PagedMemory&) = delete;
  PagedMemory& operator=(const PagedMemory&) = delete;

  Device device() const { return device_; }
  void* data() const { return data_; }
  std::int64_t resident_bytes() const { return num_live_ * page_bytes_; }

  // Bytes; whole pages are acquired, and must be released.  A stream that is none: the host waits.
  void acquire(std::int64_t begin, std::int64_t end, Stream stream, bool as_zeros);
  void release(std::int64_t begin, std::int64_t end, Stream stream);

 private:
  friend class ChunkPool;

  // Without a chunk it is not mapped.  With a release it is mapped but nobody's any more.
  struct Page {
    Chunk* chunk = nullptr;
    const Release* release = nullptr;

    bool is_live() const { return chunk != nullptr && release == nullptr; }
  };

  // Whether the page got another mapping.
  bool make_live(std::int64_t page, Stream stream);
  void set_to_zero(std::int64_t begin, std::int64_t end, Stream stream) const;
  void unmap(std::int64_t begin, std::int64_t end);
  // Of its pages those that nobody has taken back.
  void unmap_released(const Release& release);
  // Calls f(begin, end) for each longest run of pages in [begin, end) that are so.
  template <typename Is, typename F>
  void for_each_run(std::int64_t begin, std::int64_t end, Is is, F f);

  Page& page(std::int64_t index) { return pages_[static_cast<std::size_t>(index)]; }
  char* address(std::int64_t page) const { return static_cast<char*>(data_) + page * page_bytes_; }

  const Device device_;
  ChunkPool& pool_;
  const std::int64_t page_bytes_;
  std::vector<Page> pages_;
  std::int64_t num_live_ = 0;
  void* data_ = nullptr;
};

}  // namespace trireme::cuda
