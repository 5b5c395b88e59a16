#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "tests/vgpu/memory/address_space.h"

namespace trireme::vgpu {

// Memory that is mapped to reserved addresses piece by piece (cuMemCreate, cuMemMap).  A piece may be mapped
// at several places: its bytes, their states and who touched them last are the same at all of them, so that a
// missing event is found whichever addresses two streams use.
class Mappings {
 public:
  static constexpr uint64_t kGranularity = 64 << 10;

  static Mappings& get();

  // A piece of memory of a device; 0 when there is no more.
  uint64_t create(Region& region, uint64_t bytes);
  // Nobody maps it any more; it is gone when it is mapped nowhere.
  bool release(uint64_t handle);
  // Whole pieces, to addresses that are reserved and free.
  bool map(uint64_t address, uint64_t bytes, uint64_t handle);
  // Lets the device use what is mapped: until then it is as if it were not.
  bool allow(uint64_t address, uint64_t bytes);
  // Of whole pieces.  Work that uses them must be over, and the host must know it.
  bool unmap(uint64_t address, uint64_t bytes);

  // The first address that has no memory, or address + bytes.
  uint64_t first_unmapped(uint64_t address, uint64_t bytes) const;
  bool is_any_mapped(uint64_t address, uint64_t bytes) const;

  // An operation reads or writes there.  Any thread.
  void note_use(uint64_t address, uint64_t bytes, uint32_t op) {
    if (address < lowest_ || address >= highest_) return;
    note_use_of_mapped(address, bytes, op);
  }

  std::vector<Allocation> leaks() const;

 private:
  struct Piece {
    Region* region = nullptr;
    uint64_t bytes = 0;
    uint64_t offset = 0;  // in the file
    int num_places = 0;
    bool is_released = false;
  };
  struct Place {
    uint64_t bytes = 0;
    uint64_t handle = 0;
    bool is_allowed = false;
    std::set<uint32_t> users;  // operations
  };
  using Places = std::map<uint64_t, Place>;  // by address

  Mappings();
  void note_use_of_mapped(uint64_t address, uint64_t bytes, uint32_t op);
  void drop_if_unused(uint64_t handle);
  // The places that are [address, address + bytes); none if their borders are others, or there are gaps.
  std::vector<Places::iterator> places_of(uint64_t address, uint64_t bytes);

  // A file in memory that holds, of each piece, the bytes, their states and touches.
  int file_;
  uint64_t file_bytes_ = 0;
  std::map<uint64_t, Piece> pieces_;  // by handle
  uint64_t next_handle_ = 1;
  Places places_;
  std::mutex users_mutex_;
  // Of all that was ever mapped.
  uint64_t lowest_ = ~0ull;
  uint64_t highest_ = 0;
};

}  // namespace trireme::vgpu
