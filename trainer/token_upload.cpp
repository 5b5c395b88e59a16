#include "trainer/token_upload.h"

#include <algorithm>
#include <cstring>

#include "kernels/elementwise.h"

namespace trireme {
namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{1} << 20;
constexpr std::int64_t kAlignment = 64;

}  // namespace

TokenUpload::TokenUpload(Stream stream) : stream_(stream), sets_{Set(stream.device()), Set(stream.device())} {
  if (!stream.device().is_cpu()) copies_.emplace(stream.device());
}

void TokenUpload::begin() {
  if (!copies_) return;
  sets_[current_].used.record(stream_);
  current_ = 1 - current_;
  Set& set = sets_[current_];
  // Long ago, as a rule.
  set.copied.synchronize();
  set.used.make_wait(*copies_);
  for (Chunk& chunk : set.chunks) chunk.used_bytes = 0;
}

TokenUpload::Chunk& TokenUpload::chunk_with_room_for(std::int64_t bytes) {
  std::vector<Chunk>& chunks = sets_[current_].chunks;
  for (Chunk& chunk : chunks) {
    if (chunk.used_bytes + bytes <= chunk.pinned.size_bytes()) return chunk;
  }
  const std::int64_t size = std::max(bytes, kChunkBytes);
  const Device device = stream_.device();
  return chunks.emplace_back(
      Chunk{.pinned = Buffer::pinned_for(device, size), .on_device = Buffer(size, device)});
}

Tensor TokenUpload::bring(Tensor host) {
  if (!copies_ || host.num_elements() == 0 || !host) return host;
  const std::int64_t bytes = host.num_elements() * size_bytes(host.dtype());
  const std::int64_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  Chunk& chunk = chunk_with_room_for(padded);
  const Tensor pinned = chunk.pinned.tensor(host.dtype(), host.shape(), chunk.used_bytes);
  const Tensor there = chunk.on_device.tensor(host.dtype(), host.shape(), chunk.used_bytes);
  chunk.used_bytes += padded;
  std::memcpy(pinned.raw_data(), host.raw_data(), static_cast<std::size_t>(bytes));
  copy(there, pinned, *copies_);
  Event& copied = sets_[current_].copied;
  copied.record(*copies_);
  copied.make_wait(stream_);
  return there;
}

}  // namespace trireme
