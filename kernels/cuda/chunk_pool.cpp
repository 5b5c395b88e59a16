#include "kernels/cuda/chunk_pool.h"

#include <algorithm>
#include <deque>
#include <iterator>

#include <glog/logging.h>

#include "kernels/cuda/paged_memory.h"

namespace trireme::cuda {

ChunkPool& ChunkPool::of(Device device) {
  static std::deque<ChunkPool> pools;  // empty at the program's end, when nobody uses them any more
  while (static_cast<int>(pools.size()) <= device.index)
    pools.emplace_back(Device{DeviceType::kCuda, static_cast<int>(pools.size())});
  return pools[static_cast<std::size_t>(device.index)];
}

std::int64_t ChunkPool::chunk_bytes() {
  if (chunk_bytes_ == 0) chunk_bytes_ = memory_granularity(device_);
  return chunk_bytes_;
}

void ChunkPool::remove_user() {
  if (--num_users_ > 0) return;
  CHECK(used_.empty() && pending_.empty());
  while (!pooled_.empty()) drop(pooled_.front());
}

void ChunkPool::drop(Chunk& chunk) {
  CHECK_EQ(chunk.num_places, 0);
  release_memory(chunk.memory);
  pooled_.erase(chunk.self);
}

Chunk& ChunkPool::use(Chunk& chunk) {
  used_.splice(used_.end(), pooled_, chunk.self);
  chunk.is_pooled = false;
  chunk.release = nullptr;
  least_pooled_ = std::min(least_pooled_, pooled_.size());
  return chunk;
}

// The oldest one: its places have most likely been unmapped, and are needed last.
Chunk* ChunkPool::find(const Stream& stream) {
  const auto found = std::find_if(pooled_.begin(), pooled_.end(), [&](const Chunk& chunk) {
    return chunk.release == nullptr || chunk.release->stream == stream.cuda();
  });
  return found == pooled_.end() ? nullptr : &*found;
}

Chunk& ChunkPool::take(const Stream& stream) {
  if (Chunk* const chunk = find(stream)) return use(*chunk);
  sweep();
  if (Chunk* const chunk = find(stream)) return use(*chunk);
  auto memory = create_memory(chunk_bytes(), device_);
  if (!memory) {
    // Other streams' work holds the rest.
    while (!pending_.empty()) wait_for(&pending_.front());
    if (Chunk* const chunk = find(stream)) return use(*chunk);
    LOG(FATAL) << "out of memory on " << device_.to_string()
               << ", of which parameters, gradients and moments have "
               << ((static_cast<std::int64_t>(used_.size()) * chunk_bytes()) >> 20)
               << " MiB; more ranks or a smaller model need less";
  }
  Chunk& chunk = used_.emplace_back();
  chunk.memory = *memory;
  chunk.self = std::prev(used_.end());
  return chunk;
}

void ChunkPool::take_back(Chunk& chunk, const Stream& stream) {
  if (chunk.release != nullptr && chunk.release->stream != stream.cuda())
    chunk.release->event.make_wait(stream);
  use(chunk);
}

void ChunkPool::put(Chunk& chunk, const Release* release) {
  pooled_.splice(pooled_.end(), used_, chunk.self);
  chunk.is_pooled = true;
  chunk.release = release;
}

Release& ChunkPool::begin_release(PagedMemory* memory, std::int64_t begin, std::int64_t end, Stream stream) {
  Release& release = pending_.emplace_back(device_, memory, begin, end);
  release.stream = stream.cuda();
  release.event.record(stream);
  return release;
}

std::list<Release>::iterator ChunkPool::end_release(std::list<Release>::iterator release) {
  release->memory->unmap_released(*release);
  return pending_.erase(release);
}

void ChunkPool::wait_for(const Release* release) {
  const auto found =
      std::find_if(pending_.begin(), pending_.end(), [&](const Release& other) { return &other == release; });
  found->event.synchronize();
  end_release(found);
}

void ChunkPool::end_releases_of(const PagedMemory* memory) {
  for (auto release = pending_.begin(); release != pending_.end();)
    release = release->memory == memory ? end_release(release) : std::next(release);
}

void ChunkPool::sweep() {
  for (auto release = pending_.begin(); release != pending_.end();)
    release = release->event.is_reached() ? end_release(release) : std::next(release);
}

void ChunkPool::trim() {
  sweep();
  std::size_t num_spare = std::min(least_pooled_, pooled_.size());
  for (auto chunk = pooled_.begin(); num_spare > 0 && chunk != pooled_.end();) {
    Chunk& spare = *chunk++;
    if (spare.release != nullptr || spare.num_places > 0) continue;
    drop(spare);
    --num_spare;
  }
  least_pooled_ = pooled_.size();
}

}  // namespace trireme::cuda
