#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/vgpu/memory/global_touch.h"

namespace trireme::vgpu {

// What is known of every byte that a kernel may address.
enum ByteState : uint8_t { kNoMemory = 0, kFresh = 1, kWritten = 2 };

struct Allocation {
  uint64_t begin = 0;
  uint64_t bytes = 0;
  std::string origin;        // "cudaMalloc", "variable x"
  bool counts = true;        // as a leak if it is never freed
  bool is_reserved = false;  // addresses alone: Mappings knows where there is memory
};

// The memory of one device, or (region 0) the page-locked memory of the host, which host and devices share.
//
// The host may not touch the addresses of a device: they are reserved without access rights, and the bytes
// lie at another place, `bytes(address)`.  Beside them lie, for every byte, its state, and for every four
// bytes who touched them last.  Addresses are never used twice, so that a freed one is known for ever.
class Region {
 public:
  static constexpr uint64_t kBytes = 64ull << 30;

  Region(int index, uint64_t base);

  int device() const { return index_ - 1; }  // -1: the host
  uint64_t base() const { return base_; }

  // 0 when `limit` bytes would be exceeded.  Fresh memory is filled with NaN.
  uint64_t allocate(uint64_t bytes, uint64_t limit, const std::string& origin, bool counts_as_leak);
  // Addresses without memory, for Mappings, at a multiple of `alignment`.  They are an allocation, too, and
  // end by release().  0 when there are none left.
  uint64_t reserve_addresses(uint64_t bytes, uint64_t alignment, const std::string& origin);
  // Counts memory of Mappings as taken or, if negative, given back; false when `limit` bytes would be
  // exceeded.
  bool take(int64_t bytes, uint64_t limit);
  // The allocation that begins there is no more.  Returns its size; false in `found` if there is none.
  uint64_t release(uint64_t address, bool& found);

  uint8_t* bytes(uint64_t address) const { return bytes_ + (address - base_); }
  uint8_t* state(uint64_t address) const { return state_ + (address - base_); }
  GlobalTouch* touch(uint64_t address) const { return touches_ + (address - base_) / kTouchBytes; }

  // The live allocation that holds the address, or null.
  const Allocation* find(uint64_t address) const;
  // What a report says of an address: "40 bytes past the end of the 100 bytes of cudaMalloc on device 0".
  std::string describe(uint64_t address) const;
  bool was_freed(uint64_t address) const;

  uint64_t live_bytes() const { return live_bytes_; }
  std::vector<Allocation> leaks() const;

 private:
  const int index_;
  const uint64_t base_;
  uint8_t* bytes_;
  uint8_t* state_;
  GlobalTouch* touches_;
  uint64_t next_;
  uint64_t live_bytes_ = 0;
  std::map<uint64_t, Allocation> live_;
  std::map<uint64_t, Allocation> freed_;
};

// All regions, and the windows through which generic addresses reach shared, local and parameter memory.
class AddressSpace {
 public:
  static AddressSpace& get();

  Region& host() { return regions_[0]; }
  Region& device(int device) { return regions_[device + 1]; }
  int num_devices() const { return static_cast<int>(regions_.size()) - 1; }

  // The region that the address lies in, or null: an address of the host (or none).
  Region* find(uint64_t address) {
    const uint64_t index = (address - base_) / Region::kBytes;
    return index < regions_.size() ? &regions_[index] : nullptr;
  }
  bool is_device(uint64_t address) {
    const Region* region = find(address);
    return region && region != &host();
  }

  // Page-locked by cudaHostRegister: kernels may use it, but nothing is known of its bytes.
  void register_host(uint64_t address, uint64_t bytes) { registered_[address] = bytes; }
  bool unregister_host(uint64_t address) { return registered_.erase(address) > 0; }
  bool is_registered(uint64_t address, uint64_t bytes) const;

  // A window is kWindowBytes wide and lies where nothing else is.
  static constexpr uint64_t kWindowBytes = 1ull << 24;
  uint64_t shared_window() const { return windows_; }
  uint64_t local_window() const { return windows_ + kWindowBytes; }
  uint64_t param_window() const { return windows_ + 2 * kWindowBytes; }

 private:
  AddressSpace();

  uint64_t base_ = 0;
  uint64_t windows_ = 0;
  std::vector<Region> regions_;
  std::map<uint64_t, uint64_t> registered_;
};

}  // namespace trireme::vgpu
