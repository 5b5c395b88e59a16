#include "tests/vgpu/memory/mappings.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

constexpr uint64_t kTouchesPerByte = sizeof(GlobalTouch) / kTouchBytes;

// Makes [at, at + bytes) show the file from `offset` on, or for a file of -1 nothing but zeros.
void show(void* at, uint64_t bytes, int file, uint64_t offset) {
  const int flags = file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const shown = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file,
                           file >= 0 ? static_cast<off_t>(offset) : 0);
  if (shown == MAP_FAILED) refuse(text("can't map ", bytes, " bytes: ", std::strerror(errno)));
}

}  // namespace

Mappings& Mappings::get() {
  static Mappings instance;
  return instance;
}

Mappings::Mappings() : file_(memfd_create("virtual GPU", MFD_CLOEXEC)) {
  if (file_ < 0) refuse(text("memfd_create: ", std::strerror(errno)));
}

uint64_t Mappings::create(Region& region, uint64_t bytes) {
  if (!region.take(static_cast<int64_t>(bytes), settings().memory_bytes)) return 0;
  const uint64_t offset = file_bytes_;
  file_bytes_ += bytes * (2 + kTouchesPerByte);
  if (ftruncate(file_, static_cast<off_t>(file_bytes_)) != 0)
    refuse(text("can't have memory: ", std::strerror(errno)));
  void* const fresh = mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, offset);
  if (fresh == MAP_FAILED) refuse(text("can't map ", bytes, " bytes: ", std::strerror(errno)));
  std::memset(fresh, 0xff, bytes);
  std::memset(static_cast<uint8_t*>(fresh) + bytes, kFresh, bytes);
  munmap(fresh, 2 * bytes);
  pieces_[next_handle_] = {&region, bytes, offset, 0, false};
  return next_handle_++;
}

void Mappings::drop_if_unused(uint64_t handle) {
  const Piece& piece = pieces_.at(handle);
  if (!piece.is_released || piece.num_places > 0) return;
  piece.region->take(-static_cast<int64_t>(piece.bytes), 0);
  fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(piece.offset),
            static_cast<off_t>(piece.bytes * (2 + kTouchesPerByte)));
  pieces_.erase(handle);
}

bool Mappings::release(uint64_t handle) {
  const auto piece = pieces_.find(handle);
  if (piece == pieces_.end() || piece->second.is_released) return false;
  piece->second.is_released = true;
  drop_if_unused(handle);
  return true;
}

bool Mappings::map(uint64_t address, uint64_t bytes, uint64_t handle) {
  const auto found = pieces_.find(handle);
  if (found == pieces_.end() || found->second.is_released || bytes != found->second.bytes) return false;
  Piece& piece = found->second;
  const Allocation* reserved = piece.region->find(address);
  if (!reserved || !reserved->is_reserved || address + bytes > reserved->begin + reserved->bytes)
    return false;
  if (address % kGranularity != 0 || is_any_mapped(address, bytes)) return false;
  Place& place = places_[address];
  place.bytes = bytes;
  place.handle = handle;
  ++piece.num_places;
  lowest_ = std::min(lowest_, address);
  highest_ = std::max(highest_, address + bytes);
  return true;
}

std::vector<Mappings::Places::iterator> Mappings::places_of(uint64_t address, uint64_t bytes) {
  std::vector<Places::iterator> found;
  uint64_t next = address;
  for (auto place = places_.find(address); next < address + bytes; ++place) {
    if (place == places_.end() || place->first != next) return {};
    found.push_back(place);
    next += place->second.bytes;
  }
  if (next != address + bytes) found.clear();
  return found;
}

bool Mappings::allow(uint64_t address, uint64_t bytes) {
  const auto places = places_of(address, bytes);
  for (const auto& at : places) {
    Place& place = at->second;
    if (std::exchange(place.is_allowed, true)) continue;
    const Piece& piece = pieces_.at(place.handle);
    show(piece.region->bytes(at->first), piece.bytes, file_, piece.offset);
    show(piece.region->state(at->first), piece.bytes, file_, piece.offset + piece.bytes);
    show(piece.region->touch(at->first), piece.bytes * kTouchesPerByte, file_,
         piece.offset + 2 * piece.bytes);
  }
  return !places.empty();
}

// What uses it but has not been executed is found out by executing it first.
bool Mappings::unmap(uint64_t address, uint64_t bytes) {
  const auto places = places_of(address, bytes);
  Streams::get().advance_all();
  for (const auto& at : places) {
    const Place& place = at->second;
    const Region& region = *pieces_.at(place.handle).region;
    for (const OpId op : place.users) {
      if (!Streams::get().host_knows(op))
        give_up(Finding::kUnmappedTooEarly,
                text(region.describe(at->first), ": nobody has waited for ", Timeline::get().describe(op),
                     ", which uses it"),
                where_called());
    }
    show(region.bytes(at->first), place.bytes, -1, 0);
    show(region.state(at->first), place.bytes, -1, 0);
    show(region.touch(at->first), place.bytes * kTouchesPerByte, -1, 0);
    const uint64_t handle = place.handle;
    --pieces_.at(handle).num_places;
    places_.erase(at);
    drop_if_unused(handle);
  }
  return !places.empty();
}

uint64_t Mappings::first_unmapped(uint64_t address, uint64_t bytes) const {
  uint64_t next = address;
  while (next < address + bytes) {
    const auto after = places_.upper_bound(next);
    if (after == places_.begin()) return next;
    const auto& [begin, place] = *std::prev(after);
    if (next - begin >= place.bytes || !place.is_allowed) return next;
    next = begin + place.bytes;
  }
  return address + bytes;
}

bool Mappings::is_any_mapped(uint64_t address, uint64_t bytes) const {
  const auto after = places_.lower_bound(address + bytes);
  if (after == places_.begin()) return false;
  const auto& [begin, place] = *std::prev(after);
  return begin + place.bytes > address;
}

void Mappings::note_use_of_mapped(uint64_t address, uint64_t bytes, uint32_t op) {
  // Most accesses follow another one by the same operation to the same place.
  thread_local uint64_t last_begin = 0;
  thread_local uint64_t last_end = 0;
  thread_local uint32_t last_op = 0;
  if (op == last_op && address >= last_begin && address + bytes <= last_end) return;
  const std::lock_guard lock(users_mutex_);
  auto place = places_.upper_bound(address);
  if (place == places_.begin()) return;
  for (--place; place != places_.end() && place->first < address + bytes; ++place) {
    last_begin = place->first;
    last_end = place->first + place->second.bytes;
    if (address < last_end) place->second.users.insert(op);
  }
  last_op = op;
}

std::vector<Allocation> Mappings::leaks() const {
  std::vector<Allocation> result;
  for (const auto& [handle, piece] : pieces_)
    result.push_back(
        {handle, piece.bytes, text("cuMemCreate on device ", piece.region->device()), true, false});
  return result;
}

}  // namespace trireme::vgpu
