#include "tests/vgpu/memory/address_space.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/mman.h>

#include "tests/vgpu/report.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

constexpr uint64_t kAlignment = 256;
constexpr uint64_t kGuard = 256;  // between two allocations, so that overruns don't reach the next one
constexpr uint64_t kPage = 4096;

uint64_t round_up(uint64_t x, uint64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

void* reserve(uint64_t bytes, int rights) {
  void* at = mmap(nullptr, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED)
    refuse(text("can't reserve ", bytes >> 30, " GiB of addresses: ", std::strerror(errno)));
  return at;
}

void drop_pages(void* begin, uint64_t bytes) {
  const uint64_t first = round_up(reinterpret_cast<uint64_t>(begin), kPage);
  const uint64_t last = (reinterpret_cast<uint64_t>(begin) + bytes) / kPage * kPage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace

Region::Region(int index, uint64_t base) : index_(index), base_(base), next_(base + kAlignment) {
  constexpr int kRights = PROT_READ | PROT_WRITE;
  bytes_ = reinterpret_cast<uint8_t*>(base);
  if (index == 0)
    mprotect(bytes_, kBytes, kRights);
  else
    bytes_ = static_cast<uint8_t*>(reserve(kBytes, kRights));
  state_ = static_cast<uint8_t*>(reserve(kBytes, kRights));
  touches_ = static_cast<GlobalTouch*>(reserve(kBytes / kTouchBytes * sizeof(GlobalTouch), kRights));
}

uint64_t Region::allocate(uint64_t bytes, uint64_t limit, const std::string& origin, bool counts_as_leak) {
  const uint64_t begin = next_;
  if (bytes > limit || live_bytes_ > limit - bytes || bytes + kGuard > base_ + kBytes - begin) return 0;
  next_ = begin + round_up(bytes + kGuard, kAlignment);
  live_bytes_ += bytes;
  live_[begin] = {begin, bytes, origin, counts_as_leak, false};
  std::memset(this->bytes(begin), 0xff, bytes);
  // What the host writes into its own memory can't be seen.
  std::memset(state(begin), index_ == 0 ? kWritten : kFresh, bytes);
  return begin;
}

uint64_t Region::reserve_addresses(uint64_t bytes, uint64_t alignment, const std::string& origin) {
  const uint64_t begin = round_up(next_, alignment);
  if (bytes + kGuard > base_ + kBytes - begin) return 0;
  next_ = begin + round_up(bytes + kGuard, kAlignment);
  live_[begin] = {begin, bytes, origin, true, true};
  return begin;
}

bool Region::take(int64_t bytes, uint64_t limit) {
  if (bytes > 0 && live_bytes_ + bytes > limit) return false;
  live_bytes_ += bytes;
  return true;
}

uint64_t Region::release(uint64_t address, bool& found) {
  const auto allocation = live_.find(address);
  found = allocation != live_.end();
  if (!found) return 0;
  const uint64_t bytes = allocation->second.bytes;
  if (!allocation->second.is_reserved) live_bytes_ -= bytes;
  std::memset(state(address), kNoMemory, bytes);
  drop_pages(this->bytes(address), bytes);
  drop_pages(state(address), bytes);
  drop_pages(touch(address), bytes / kTouchBytes * sizeof(GlobalTouch));
  freed_.insert(live_.extract(allocation));
  return bytes;
}

namespace {

// The allocation that the address is in or that ends last before it.
const Allocation* at_or_before(const std::map<uint64_t, Allocation>& allocations, uint64_t address) {
  const auto after = allocations.upper_bound(address);
  return after == allocations.begin() ? nullptr : &std::prev(after)->second;
}

}  // namespace

const Allocation* Region::find(uint64_t address) const {
  const Allocation* a = at_or_before(live_, address);
  return a && address - a->begin < a->bytes ? a : nullptr;
}

bool Region::was_freed(uint64_t address) const {
  const Allocation* a = at_or_before(freed_, address);
  return a && address - a->begin < a->bytes;
}

std::string Region::describe(uint64_t address) const {
  const std::string owner = index_ == 0 ? " of the host" : text(" on device ", device());
  const bool freed = was_freed(address);
  const Allocation* a = at_or_before(freed ? freed_ : live_, address);
  if (!a) return text("below all memory", owner);
  const std::string whole =
      text("the ", a->bytes, freed ? " freed bytes of " : " bytes of ", a->origin, owner);
  const uint64_t offset = address - a->begin;
  if (offset < a->bytes) return text("byte ", offset, " of ", whole);
  return text(offset - a->bytes, " bytes past the end of ", whole);
}

std::vector<Allocation> Region::leaks() const {
  std::vector<Allocation> result;
  for (const auto& [begin, allocation] : live_)
    if (allocation.counts) result.push_back(allocation);
  return result;
}

AddressSpace& AddressSpace::get() {
  static AddressSpace instance;
  return instance;
}

AddressSpace::AddressSpace() {
  const int num_regions = settings().num_devices + 1;
  base_ = reinterpret_cast<uint64_t>(reserve(num_regions * Region::kBytes, PROT_NONE));
  windows_ = reinterpret_cast<uint64_t>(reserve(3 * kWindowBytes, PROT_NONE));
  regions_.reserve(num_regions);
  for (int i = 0; i < num_regions; ++i) regions_.emplace_back(i, base_ + i * Region::kBytes);
}

bool AddressSpace::is_registered(uint64_t address, uint64_t bytes) const {
  const auto after = registered_.upper_bound(address);
  if (after == registered_.begin()) return false;
  const auto [begin, size] = *std::prev(after);
  return address + bytes <= begin + size;
}

}  // namespace trireme::vgpu
