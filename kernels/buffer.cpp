#include "kernels/buffer.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <sys/mman.h>

#include "kernels/cuda/runtime.h"

namespace trireme {
namespace {

constexpr std::int64_t kCacheLine = 64;
constexpr std::int64_t kHugePage = std::int64_t{2} << 20;

void* allocate_on_host(std::int64_t size_bytes) {
  const std::int64_t alignment = size_bytes >= kHugePage ? kHugePage : kCacheLine;
  const std::int64_t rounded = (size_bytes + alignment - 1) / alignment * alignment;
  void* const data =
      std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(rounded));
  if (data == nullptr) {
    LOG(FATAL) << "out of memory: " << size_bytes << " bytes (" << (size_bytes >> 20)
               << " MiB) were asked for; a smaller microbatch or model needs less";
  }
  // Advice only: where huge pages are switched off, small ones serve.
  if (alignment == kHugePage) madvise(data, static_cast<std::size_t>(rounded), MADV_HUGEPAGE);
  return data;
}

}  // namespace

Buffer::Buffer(std::int64_t size_bytes, Device device) : size_bytes_(size_bytes), device_(device) {
  CHECK_GE(size_bytes, 0);
  CHECK(device.is_cpu() || kHasCuda) << "this build has no CUDA";
  if (size_bytes == 0) return;
  if constexpr (kHasCuda) {
    if (!device.is_cpu()) data_ = cuda::allocate(size_bytes, device);
  }
  if (device.is_cpu()) data_ = allocate_on_host(size_bytes);
}

Buffer Buffer::pinned_for(Device peer, std::int64_t size_bytes) {
  if constexpr (kHasCuda) {
    if (!peer.is_cpu() && size_bytes > 0) {
      Buffer buffer;
      buffer.data_ = cuda::allocate_pinned(size_bytes, peer);
      buffer.size_bytes_ = size_bytes;
      buffer.is_pinned_ = true;
      return buffer;
    }
  }
  return Buffer(size_bytes);
}

Buffer::~Buffer() {
  release();
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      device_(other.device_),
      is_pinned_(other.is_pinned_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  device_ = other.device_;
  is_pinned_ = other.is_pinned_;
  return *this;
}

void Buffer::release() {
  if constexpr (kHasCuda) {
    if (data_ != nullptr && is_pinned_) return cuda::release_pinned(data_);
    if (data_ != nullptr && !device_.is_cpu()) return cuda::release(data_, device_);
  }
  std::free(data_);
}

void Buffer::zero() {
  if constexpr (kHasCuda) {
    if (!device_.is_cpu()) return cuda::zero(data_, size_bytes_, device_);
  }
  if (size_bytes_ > 0) std::memset(data_, 0, static_cast<std::size_t>(size_bytes_));
}

Tensor Buffer::tensor(DType dtype, Shape shape, std::int64_t offset_bytes) const {
  const std::int64_t needed = shape.num_elements() * trireme::size_bytes(dtype);
  CHECK(0 <= offset_bytes && offset_bytes + needed <= size_bytes_)
      << shape.to_string() << " at byte " << offset_bytes << " of a buffer of " << size_bytes_;
  return {static_cast<char*>(data_) + offset_bytes, dtype, shape, device_};
}

}  // namespace trireme
