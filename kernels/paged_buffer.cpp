#include "kernels/paged_buffer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/cuda/paged_memory.h"

namespace trireme {
namespace {

// Parts of shards, and so what ranks agree on, don't depend on the kernel's pages.
constexpr std::int64_t kCpuPageBytes = 4096;

std::int64_t kernel_page_bytes() {
  static const std::int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

}  // namespace

std::int64_t PagedBuffer::page_bytes(Device device) {
  if constexpr (kHasCuda) {
    if (!device.is_cpu()) return cuda::ChunkPool::of(device).chunk_bytes();
  }
  return kCpuPageBytes;
}

PagedBuffer::PagedBuffer(std::int64_t size_bytes, Pages pages, Device device) : size_bytes_(size_bytes) {
  CHECK_GE(size_bytes, 0);
  if (size_bytes == 0) return;
  if (!device.is_cpu()) {
    CHECK(kHasCuda) << "this build has no CUDA";
    if (pages == Pages::kLarge) {
      large_on_device_ = Buffer(size_bytes, device);
      large_on_device_.zero();
    } else if constexpr (kHasCuda) {
      small_on_device_.reset(new cuda::PagedMemory(size_bytes, device));
    }
    return;
  }
  const auto size = static_cast<std::size_t>(size_bytes);
  void* const data =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    LOG(FATAL) << "out of address space: " << size_bytes << " bytes (" << (size_bytes >> 20)
               << " MiB) were asked for: " << std::strerror(errno);
  }
  data_ = data;
  // Advice only: a kernel without huge pages has small ones.
  madvise(data, size, pages == Pages::kLarge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

PagedBuffer::~PagedBuffer() {
  unmap();
}

PagedBuffer::PagedBuffer(PagedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      large_on_device_(std::move(other.large_on_device_)),
      small_on_device_(std::move(other.small_on_device_)) {}

PagedBuffer& PagedBuffer::operator=(PagedBuffer&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  large_on_device_ = std::move(other.large_on_device_);
  small_on_device_ = std::move(other.small_on_device_);
  return *this;
}

void PagedBuffer::unmap() {
  if (data_ != nullptr) munmap(data_, static_cast<std::size_t>(size_bytes_));
}

void PagedBuffer::DeleteCuda::operator()([[maybe_unused]] cuda::PagedMemory* memory) const {
  if constexpr (kHasCuda) delete memory;
}

void PagedBuffer::acquire(std::int64_t begin, std::int64_t end, [[maybe_unused]] Contents contents,
                          [[maybe_unused]] Stream stream) {
  CHECK(0 <= begin && begin <= end && end <= size_bytes_)
      << "bytes " << begin << " to " << end << " of " << size_bytes_;
  if constexpr (kHasCuda) {
    if (small_on_device_) small_on_device_->acquire(begin, end, stream, contents == Contents::kZeros);
  }
}

void PagedBuffer::release(std::int64_t begin, std::int64_t end, [[maybe_unused]] Stream stream) {
  CHECK(0 <= begin && begin <= end && end <= size_bytes_)
      << "bytes " << begin << " to " << end << " of " << size_bytes_;
  CHECK(!large_on_device_.data()) << "large pages of a device stay";
  if (begin == end) return;
  if constexpr (kHasCuda) {
    if (small_on_device_) return small_on_device_->release(begin, end, stream);
  }
  CHECK(begin % kCpuPageBytes == 0 && end % kCpuPageBytes == 0) << "bytes " << begin << " to " << end;
  char* const from = static_cast<char*>(data_) + begin;
  const auto size = static_cast<std::size_t>(end - begin);
  // A kernel with larger pages than ours can't give back parts of them.
  if (kernel_page_bytes() > kCpuPageBytes) {
    std::memset(from, 0, size);
    return;
  }
  PCHECK(madvise(from, size, MADV_DONTNEED) == 0);
}

std::int64_t PagedBuffer::resident_bytes() const {
  if constexpr (kHasCuda) {
    if (small_on_device_) return small_on_device_->resident_bytes();
  }
  if (data_ == nullptr) return large_on_device_.size_bytes();
  const auto pages = static_cast<std::size_t>((size_bytes_ + kernel_page_bytes() - 1) / kernel_page_bytes());
  std::vector<unsigned char> is_resident(pages);
  PCHECK(mincore(data_, static_cast<std::size_t>(size_bytes_), is_resident.data()) == 0);
  const auto count =
      std::count_if(is_resident.begin(), is_resident.end(), [](unsigned char page) { return page & 1; });
  return std::min(size_bytes_, count * kernel_page_bytes());
}

std::int64_t PagedBuffer::pooled_bytes([[maybe_unused]] Device device) {
  if constexpr (kHasCuda) {
    if (!device.is_cpu()) return cuda::ChunkPool::of(device).pooled_bytes();
  }
  return 0;
}

void PagedBuffer::trim([[maybe_unused]] Device device) {
  if constexpr (kHasCuda) {
    if (!device.is_cpu()) cuda::ChunkPool::of(device).trim();
  }
}

Tensor PagedBuffer::tensor(DType dtype, Shape shape, std::int64_t offset_bytes) const {
  if (large_on_device_.data() != nullptr) return large_on_device_.tensor(dtype, shape, offset_bytes);
  const std::int64_t needed = shape.num_elements() * trireme::size_bytes(dtype);
  CHECK(0 <= offset_bytes && offset_bytes + needed <= size_bytes_)
      << shape.to_string() << " at byte " << offset_bytes << " of a buffer of " << size_bytes_;
  void* data = data_;
  Device device;
  if constexpr (kHasCuda) {
    if (small_on_device_) {
      data = small_on_device_->data();
      device = small_on_device_->device();
    }
  }
  return {static_cast<char*>(data) + offset_bytes, dtype, shape, device};
}

}  // namespace trireme
