// The memory of a CUDA device that PagedMemory takes and gives back, page by page, in the order of streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>

#include "kernels/cuda/virtual_memory.h"
#include "kernels/device.h"
#include "kernels/stream.h"

namespace trireme::cuda {

class PagedMemory;

// Pages [begin, end) of a PagedMemory were given back at this point of a stream: they stay mapped until it is
// reached.
struct Release {
  Release(Device device, PagedMemory* of, std::int64_t first, std::int64_t last)
      : event(device), memory(of), begin(first), end(last) {}

  Event event;
  const StreamState* stream = nullptr;
  PagedMemory* memory;
  std::int64_t begin;
  std::int64_t end;
};

// A page of memory.
struct Chunk {
  MemoryHandle memory = 0;
  const Release* release = nullptr;  // in the pool: its last one, unless that has been reached
  int num_places = 0;                // where it is mapped
  bool is_pooled = false;
  std::list<Chunk>::iterator self;
};

// What was given back waits here to be taken again.  A stream may take what it gave back itself at once: its
// work is done in order, whatever addresses it uses.  Others' it may take only when that has been reached. So
// a chunk may be mapped at several addresses, of which but one is in use; CUDA has what one operation wrote
// by way of one of them seen through another by the operations that follow it.
//
// One for each device, of all its PagedMemory, used by one thread at a time.
class ChunkPool {
 public:
  static ChunkPool& of(Device device);

  explicit ChunkPool(Device device) : device_(device) {}
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  std::int64_t chunk_bytes();
  std::int64_t pooled_bytes() { return static_cast<std::int64_t>(pooled_.size()) * chunk_bytes(); }

  void add_user() { ++num_users_; }
  // With the last one all memory goes back to the device.
  void remove_user();

  // One that work given to `stream` (or the host at once, if that is none) may use from here on.  Running out
  // of memory is fatal.
  Chunk& take(const Stream& stream);
  // That one, which is pooled; work given to `stream` waits for its release.
  void take_back(Chunk& chunk, const Stream& stream);
  // Nobody uses it after that; null: at all.
  void put(Chunk& chunk, const Release* release);

  Release& begin_release(PagedMemory* memory, std::int64_t begin, std::int64_t end, Stream stream);
  // Returns when the release has been reached; it is no more.
  void wait_for(const Release* release);
  // Ends those of the memory, whose work is done.
  void end_releases_of(const PagedMemory* memory);
  // Unmaps what has been reached.
  void sweep();
  // Gives to the device what was in the pool all the time since the last call.
  void trim();

 private:
  Chunk* find(const Stream& stream);
  Chunk& use(Chunk& chunk);
  std::list<Release>::iterator end_release(std::list<Release>::iterator release);
  void drop(Chunk& chunk);

  const Device device_;
  std::int64_t chunk_bytes_ = 0;  // not yet asked
  int num_users_ = 0;
  std::list<Chunk> pooled_;  // given back longest ago first
  std::list<Chunk> used_;
  std::list<Release> pending_;
  std::size_t least_pooled_ = 0;  // since trim()
};

}  // namespace trireme::cuda
