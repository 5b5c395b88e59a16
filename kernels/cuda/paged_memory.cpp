#include "kernels/cuda/paged_memory.h"

#include <functional>

#include <glog/logging.h>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/virtual_memory.h"

namespace trireme::cuda {

PagedMemory::PagedMemory(std::int64_t size_bytes, Device device)
    : device_(device),
      pool_(ChunkPool::of(device)),
      page_bytes_(pool_.chunk_bytes()),
      pages_(static_cast<std::size_t>((size_bytes + page_bytes_ - 1) / page_bytes_)),
      data_(reserve_addresses(static_cast<std::int64_t>(pages_.size()) * page_bytes_, device)) {
  pool_.add_user();
}

PagedMemory::~PagedMemory() {
  pool_.end_releases_of(this);
  const auto size = static_cast<std::int64_t>(pages_.size());
  for_each_run(0, size, &Page::is_live, [&](std::int64_t begin, std::int64_t end) { unmap(begin, end); });
  free_addresses(data_, size * page_bytes_);
  pool_.remove_user();
}

template <typename Is, typename F>
void PagedMemory::for_each_run(std::int64_t begin, std::int64_t end, Is is, F f) {
  for (std::int64_t first = begin; first < end;) {
    std::int64_t last = first;
    while (last < end && std::invoke(is, page(last))) ++last;
    if (first < last) f(first, last);
    first = last + 1;
  }
}

void PagedMemory::acquire(std::int64_t begin, std::int64_t end, Stream stream, bool as_zeros) {
  const std::int64_t last = (end + page_bytes_ - 1) / page_bytes_;
  for (std::int64_t first = begin / page_bytes_; first < last; ++first) {
    if (page(first).is_live()) continue;
    // A run of pages that come to life, and in it runs that were mapped, for which one call is enough.
    std::int64_t next = first;
    std::int64_t mapped = first;
    const auto allow = [&] {
      if (mapped < next) allow_access(address(mapped), (next - mapped) * page_bytes_, device_);
      mapped = next + 1;
    };
    for (; next < last && !page(next).is_live(); ++next) {
      if (!make_live(next, stream)) allow();
    }
    allow();
    num_live_ += next - first;
    if (as_zeros) set_to_zero(first, next, stream);
    first = next;
  }
}

bool PagedMemory::make_live(std::int64_t index, Stream stream) {
  Page& at = page(index);
  if (at.chunk != nullptr && at.chunk->is_pooled && stream.cuda() != nullptr) {
    pool_.take_back(*at.chunk, stream);
    at.release = nullptr;
    return false;
  }
  // The host is so far ahead of the device that the memory which lies here is in use elsewhere already.  The
  // device has all the work in between to do yet, so nothing is lost.
  if (at.chunk != nullptr) pool_.wait_for(at.release);
  at.chunk = &pool_.take(stream);
  map_memory(address(index), page_bytes_, at.chunk->memory);
  ++at.chunk->num_places;
  return true;
}

void PagedMemory::set_to_zero(std::int64_t begin, std::int64_t end, Stream stream) const {
  const std::int64_t size = (end - begin) * page_bytes_;
  if (stream.cuda() == nullptr) return zero(address(begin), size, device_);
  zero(address(begin), size, *stream.cuda());
}

void PagedMemory::release(std::int64_t begin, std::int64_t end, Stream stream) {
  CHECK(begin % page_bytes_ == 0 && end % page_bytes_ == 0) << "bytes " << begin << " to " << end;
  pool_.sweep();
  for_each_run(begin / page_bytes_, end / page_bytes_, &Page::is_live,
               [&](std::int64_t first, std::int64_t last) {
                 if (stream.cuda() == nullptr) {
                   synchronize_device(device_);
                   return unmap(first, last);
                 }
                 const Release& release = pool_.begin_release(this, first, last, stream);
                 for (std::int64_t i = first; i < last; ++i) {
                   page(i).release = &release;
                   pool_.put(*page(i).chunk, &release);
                 }
                 num_live_ -= last - first;
               });
}

void PagedMemory::unmap(std::int64_t begin, std::int64_t end) {
  unmap_memory(address(begin), (end - begin) * page_bytes_);
  for (std::int64_t i = begin; i < end; ++i) {
    --page(i).chunk->num_places;
    pool_.put(*page(i).chunk, nullptr);
    page(i) = {};
  }
  num_live_ -= end - begin;
}

void PagedMemory::unmap_released(const Release& release) {
  const auto is_left = [&](const Page& at) { return at.release == &release; };
  for_each_run(release.begin, release.end, is_left, [&](std::int64_t begin, std::int64_t end) {
    unmap_memory(address(begin), (end - begin) * page_bytes_);
    for (std::int64_t i = begin; i < end; ++i) {
      Chunk& chunk = *page(i).chunk;
      --chunk.num_places;
      if (chunk.release == &release) chunk.release = nullptr;
      page(i) = {};
    }
  });
}

}  // namespace trireme::cuda
